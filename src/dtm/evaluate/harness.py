"""One model on one task, in a worker: plain JSON in, `items.jsonl` and `scores.json` out.

We call lm-eval's `evaluate` and not its `simple_evaluate`, which spends two seconds a call on describing
the machine.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from dtm.evaluate.loading import model_and_tokenizer, parameters_of
from dtm.evaluate.tasks import Task, build
from dtm.foundations.errors import ConfigError, DtmError, MissingInput, ModelError
from dtm.foundations.files import canonical, text_digest, write_json, write_text
from dtm.foundations.seeds import derive32

Progress = Callable[[dict[str, Any]], None]


def evaluate(job: dict[str, Any], progress: Progress | None = None) -> dict[str, Any]:
    """Score a model on a task and write what it answered to each item.

    `job` holds model (folder), adapter (folder or None), or instead `parts`, a list of {model, adapter} that
    answer together, task (a `Task.spec`), output (folder), and
    optionally chat (False), batch_size (8), max_length (tokens; the model's), device ("cpu"), dtype
    ("auto"), seed (0), threads (torch's), backend ({model, model_args} of lm-eval's registry).

    `items.jsonl` has one line an item, by doc_id: metrics, target, prompt (sha256 of what the model was
    asked), and `loglikelihoods` (nats) or `response`. `scores.json` is {metric: {value, n}}. The same job
    gives the same bytes. Returns {scores, n, chance, truncated, parameters}.
    """
    import torch

    if job.get("threads"):
        torch.set_num_threads(job["threads"])
    task = build(job["task"])
    with _quiet():
        model = _language_model(job, progress)
        results = _run(
            task, model, chat=bool(job.get("chat")), seed=derive32(job.get("seed") or 0, "evaluate")
        )
    items = list(_items(task, results["samples"]))
    scores = _scores(task, items, results["results"])
    output = Path(job["output"])
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / "items.jsonl", "".join(canonical(item) + "\n" for item in items))
    write_json(output / "scores.json", scores)
    return {
        "scores": scores,
        "n": len(items),
        "chance": _chance(task, items),
        "truncated": getattr(model, "truncated", None),
        "parameters": parameters_of(getattr(model, "model", None)),
    }


def _language_model(job: dict[str, Any], progress: Progress | None) -> Any:
    backend = job.get("backend")
    if backend is None:
        from dtm.evaluate.lm_eval_model import LanguageModel

        model, tokenizer = model_and_tokenizer(job)
        if job.get("chat") and not tokenizer.chat_template:
            raise ModelError(
                "the tokenizer has no chat template, and `format: chat` needs one",
                where=job.get("model"),
                mend="Evaluate with `format: raw`",
            )
        size, length = job.get("batch_size") or 8, job.get("max_length")
        return LanguageModel(model, tokenizer, batch_size=size, max_length=length, progress=progress)
    return _backend_model(job, backend["model"], dict(backend.get("model_args") or {}))


def _backend_model(job: dict[str, Any], name: str, settings: dict[str, Any]) -> Any:
    """A model of lm-eval's registry: hf, vllm, local-completions, ..."""
    import lm_eval.models  # noqa: F401 - fills the registry
    from lm_eval.api.registry import get_model

    if job.get("parts"):
        raise ConfigError(f"backend {name!r} cannot evaluate an ensemble", where="evaluate.backend",
                          mend="Leave `backend` out")  # fmt: skip
    if name == "hf" and job.get("adapter"):
        settings = {"peft": job["adapter"], **settings}
    elif job.get("adapter"):
        raise ConfigError(f"backend {name!r} cannot evaluate an adapter", where="evaluate.backend",
                          mend="Merge it into its base first, or use `model: hf`")  # fmt: skip
    settings = {"model" if name.startswith("local-") else "pretrained": job["model"], **settings}
    if name == "hf":
        settings = {"dtype": job.get("dtype") or "auto", "max_length": job.get("max_length"), **settings}
    try:
        kind = get_model(name)
    except (ValueError, KeyError) as error:
        raise ConfigError(f"lm-eval has no model {name!r}", where="evaluate.backend.model") from error
    shared = {"batch_size": job.get("batch_size") or 8, "device": job.get("device") or "cpu"}
    return kind.create_from_arg_obj(settings, {k: v for k, v in shared.items() if k not in settings})


def _run(task: Task, model: Any, *, chat: bool, seed: int) -> dict[str, Any]:
    from lm_eval import evaluator

    if task.kind == "hub":
        loaded, limit = _hub_task(task, seed), task.spec["limit"]
    else:
        from dtm.evaluate.lm_eval_task import LocalTask

        loaded, limit = {"tasks": {task.name: LocalTask(task)}, "groups": {}}, None
    return evaluator.evaluate(
        lm=model,
        task_dict=loaded,
        limit=limit,
        bootstrap_iters=0,
        apply_chat_template=chat,
        fewshot_as_multiturn=True,
    )


def _hub_task(task: Task, seed: int) -> Any:
    """The task as lm-eval defines it, its data fetched."""
    from lm_eval.utils import set_torch_seed

    set_torch_seed(seed)
    try:
        loaded = _manager().load([task.name])
    except DtmError:
        raise
    except Exception as error:  # the hub's clients raise a dozen kinds for "not there" and "no network"
        reason = (str(error).strip() or type(error).__name__).split("\n", 1)[0]
        raise MissingInput(
            f"the data of lm-eval's task {task.name!r} could not be fetched ({reason})",
            where="evaluate.tasks",
            mend="Check the network, or give the `path` of a local file",
        ) from error
    for one in loaded["tasks"].values():
        if getattr(one, "UNSAFE_CODE", False):
            raise ConfigError(f"{one.task_name} runs the code that a model writes, and that is off",
                              where="evaluate.tasks")  # fmt: skip
        if task.spec["shots"] is not None:
            one.set_config(key="num_fewshot", value=task.spec["shots"])
        elif one.get_config("num_fewshot") is None:
            one.set_config(key="num_fewshot", value=0)
        one.set_fewshot_seed(seed=seed)
    return loaded


@cache
def _manager() -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _items(task: Task, samples: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """One record an item, by doc_id: its row in our file or lm-eval's number (`subtask/number` in groups)."""
    for name in sorted(samples):
        records: dict[int, dict[str, Any]] = {}
        filters = {sample["filter"] for sample in samples[name]}
        for sample in samples[name]:
            number = sample["doc_id"]
            place = task.items[number].row if task.items else number
            record = records.setdefault(
                place, _record(sample, place if len(samples) == 1 else f"{name}/{place}")
            )
            for metric in sample["metrics"]:
                key = metric if len(filters) == 1 else f"{metric},{sample['filter']}"
                record["metrics"][key] = _plain(sample[metric])
        yield from (records[place] for place in sorted(records))


def _record(sample: dict[str, Any], doc_id: int | str) -> dict[str, Any]:
    record = {
        "doc_id": doc_id,
        "metrics": {},
        "target": _plain(sample["target"]),
        "prompt": text_digest(canonical([_plain(arguments) for arguments in sample["arguments"]])),
    }
    responses = [answers[0] for answers in sample["resps"]]
    if isinstance(responses[0], str):
        return {**record, "response": responses[0]}
    scored = [response if isinstance(response, tuple | list) else (response,) for response in responses]
    return {**record, "loglikelihoods": [float(response[0]) for response in scored]}


def _plain(value: Any) -> Any:
    """A value of lm-eval as JSON has it: no numpy, no tuples."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _scores(task: Task, items: list[dict[str, Any]], results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """{metric: {value, n}}: means of ours and the perplexity; lm-eval's own aggregates of its tasks."""
    if task.kind == "hub" and task.name in results:
        found = {}
        for key, value in results[task.name].items():
            metric, comma, filtered = key.partition(",")
            if comma and not metric.endswith("_stderr") and isinstance(value, int | float):
                name = metric if filtered == "none" else key
                found[name] = {"value": float(value), "n": len(items)}
        return found
    columns: dict[str, list[float]] = {}
    for item in items:
        for metric, value in item["metrics"].items():
            if isinstance(value, int | float):
                columns.setdefault(metric, []).append(value)
    scores = {
        name: {"value": math.fsum(column) / len(column), "n": len(column)} for name, column in columns.items()
    }
    if "loglikelihood" in scores and task.kind != "hub":
        mean = scores["loglikelihood"]
        scores["perplexity"] = {"value": math.exp(-mean["value"]), "n": mean["n"]}
    return scores


def _chance(task: Task, items: list[dict[str, Any]]) -> float | None:
    """What guessing scores; of lm-eval's tasks, where every item compares several log likelihoods."""
    counts = [len(item.get("loglikelihoods", ())) for item in items]
    if task.kind == "hub" and all(count > 1 for count in counts):
        return math.fsum(1 / count for count in counts) / len(counts)
    return task.chance


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep lm-eval's and transformers' notes and bars off the terminal; errors still come through."""
    import lm_eval.api.task as task_module
    from tqdm import tqdm
    from transformers.utils import logging as transformers_logging

    logger, bars = logging.getLogger("lm_eval"), transformers_logging.is_progress_bar_enabled()
    level, shown = logger.level, task_module.tqdm
    logger.setLevel(logging.ERROR)
    task_module.tqdm = partial(tqdm, disable=True)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        task_module.tqdm = shown
        if bars:
            transformers_logging.enable_progress_bar()
