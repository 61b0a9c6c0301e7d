"""Our tasks as lm-eval runs them. Importing this module imports lm-eval; only the harness does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.task import Task as LmEvalTask
from lm_eval.config.task import TaskConfig
from lm_eval.filters import build_filter_ensemble

from dtm.evaluate.kinds import Item
from dtm.evaluate.tasks import Task
from dtm.foundations.answers import matches, number_in
from dtm.foundations.errors import ModelError
from dtm.foundations.instructions import followed, followed_loosely

Template = Callable[..., str]


class LocalTask(LmEvalTask):
    """A `Task` of ours: its items are lm-eval's documents, and it needs no data set of the hub."""

    VERSION = 1

    def __init__(self, task: Task) -> None:  # the parent's constructor downloads a data set
        self.task = task
        self.OUTPUT_TYPE = "multiple_choice" if task.items[0].continuations else "generate_until"
        self._config = TaskConfig(task=task.name, num_fewshot=0, repeats=1, output_type=self.OUTPUT_TYPE)
        self._filters = [build_filter_ensemble("none", [["take_first", None]])]
        self._instances: list[Instance] | None = None

    def build_all_requests(self, *, chat_template: Template | None = None, **_: Any) -> None:
        """One instance for each text to score or prompt to answer; the limit was applied in `resolve`."""
        self._instances = [
            self._instance(item, place, index, arguments)
            for place, item in enumerate(self.task.items)
            for index, arguments in enumerate(self.arguments(item, chat_template))
        ]

    def arguments(self, item: Item, template: Template | None) -> Iterator[tuple[str, Any]]:
        """What lm-eval asks the model: (prompt, continuation) pairs, or (prompt, generation settings)."""
        if not item.continuations:
            settings = {"until": list(item.stops), "do_sample": False, "max_gen_toks": item.max_tokens}
            yield self.prompt(item, item.contexts[0], template), settings
            if item.other:
                yield from self.arguments(item.other, template)
            return
        for index in range(item.choices):
            context = item.contexts[index % len(item.contexts)]
            continuation = item.continuations[index % len(item.continuations)]
            prompt = self.prompt(item, context, template)
            yield prompt, continuation.lstrip(" ") if template else _gap(context, continuation) + continuation

    def prompt(self, item: Item, context: str, template: Template | None) -> str:
        """The context behind its preamble and examples: as running text, or as turns of a chat."""
        examples = self.task.examples.get(item.group, ())
        if template is None:
            shown = (f"{one.context}{_gap(one.context, one.worked)}{one.worked}\n\n" for one in examples)
            return f"{item.preamble}{''.join(shown)}{context}"
        turns = [
            {"role": role, "content": said}
            for one in examples
            for role, said in (("user", one.context), ("assistant", one.worked))
        ]
        turns.append({"role": "user", "content": context})
        turns[0]["content"] = item.preamble + turns[0]["content"]
        return template(turns)

    def process_results(self, doc: Item, results: list[Any]) -> dict[str, float]:
        """The metrics of one item."""
        if self.task.kind == "pair_consistent":
            return self._consistent(doc, results)
        if doc.instructions:
            return _following(doc, results[0])
        if self.task.kind == "pair_contrast":
            return _contrast([score for score, _ in results])
        if not doc.continuations:
            return {"exact_match": int(self._answered(doc, results[0]))}
        scores = [score for score, _ in results]
        if not all(map(math.isfinite, scores)):
            raise ModelError(
                f"the log likelihood of row {doc.row + 1} is not finite, so the model is broken",
                where=self.task.name,
            )
        if doc.choices == 1:
            return {"acc": int(results[0][1]), "loglikelihood": scores[0]}
        metrics: dict[str, float] = {"acc": int(_largest(scores) == doc.gold)}
        if "acc_norm" in self.task.metrics:
            lengths = [len(continuation) for continuation in doc.continuations]
            metrics["acc_norm"] = int(
                _largest([score / n for score, n in zip(scores, lengths, strict=True)]) == doc.gold
            )
        return metrics

    def _consistent(self, item: Item, responses: list[str]) -> dict[str, float]:
        """Whether both of a pair are right, and the share that are."""
        right = [
            all(followed(wanted, response) for wanted in one.instructions) if one.instructions
            else matches(response, one.answers, exact=one.exact)
            for one, response in zip((item, item.other), responses, strict=True) if one
        ]  # fmt: skip
        return {"pair_consistent": int(all(right)), "satisfied": sum(right) / len(right)}

    def _answered(self, item: Item, response: str) -> bool:
        if self.task.kind == "number":
            said = number_in(response)
            return said is not None and said == number_in(item.answers[0])
        return matches(response, item.answers, exact=item.exact)

    def _instance(self, item: Item, place: int, index: int, arguments: tuple[str, Any]) -> Instance:
        kind = "loglikelihood" if item.continuations else "generate_until"
        return Instance(kind, item, arguments, index, metadata=(self.task.name, place, 1))

    def doc_to_target(self, doc: Item) -> Any:
        if doc.instructions:
            return ", ".join(one.method.name for one in doc.instructions)
        return doc.gold if doc.choices > 1 else (doc.continuations or doc.answers)[0]

    def doc_to_text(self, doc: Item) -> str:
        return doc.context

    def aggregation(self) -> dict[str, Callable]:
        return dict.fromkeys(self.task.metrics, mean)

    def higher_is_better(self) -> dict[str, bool]:
        return dict.fromkeys(self.task.metrics, True)

    def test_docs(self) -> list[Item]:
        return list(self.task.items)

    def has_test_docs(self) -> bool:
        return True

    def has_training_docs(self) -> bool:
        return False

    def has_validation_docs(self) -> bool:
        return False

    def construct_requests(self, doc: Item, ctx: str, **_: Any) -> list[Instance]:
        raise NotImplementedError("build_all_requests makes them")


def _following(item: Item, response: str) -> dict[str, float]:
    """Whether all instructions are followed, and the share that are, strictly and loosely."""
    metrics: dict[str, float] = {}
    for name, follows in (("strict", followed), ("loose", followed_loosely)):
        passed = [follows(one, response) for one in item.instructions]
        metrics |= {f"prompt_{name}": int(all(passed)), f"instruction_{name}": sum(passed) / len(passed)}
    return metrics


def _contrast(scores: list[float]) -> dict[str, float]:
    """Of (x: y, y'; x': y', y) whether y is likelier under x, and y' under x'."""
    right = [scores[0] > scores[1], scores[2] > scores[3]]
    return {"contrast": sum(right) / 2, "contrast_both": int(all(right))}


def _largest(scores: list[float]) -> int:
    """Place of the largest score, the first of equals, as numpy's argmax and lm-eval have it."""
    return max(range(len(scores)), key=scores.__getitem__)


def _gap(before: str, after: str) -> str:
    """The space between a context and what continues it, unless there is one."""
    return "" if not before or before[-1].isspace() or after[0].isspace() else " "
