"""What the harness says of a tiny model, against log likelihoods and greedy answers in fp64."""

from __future__ import annotations

import json
import math

import pytest

from dtm.evaluate import evaluate, harness, loading, resolve
from dtm.foundations.errors import ConfigError, DataError, MissingInput, ModelError
from tests.evaluate.conftest import Reference
from tests.tiny import tiny_model

CHOICES = [
    {"query": "Question: What do bees make?", "choices": ["honey", "milk and cream", "wool"], "gold": 0},
    {
        "query": "Question: Where do fish live?\n",
        "choices": ["in the water", "in a nest", "on ice"],
        "gold": 0,
    },
    {"query": "The sun is", "choices": ["cold", "a star that shines"], "gold": 1},
    {"query": "Question: What is 1 + 1?\nAnswer:", "choices": ["2", "3", "11", "4"], "gold": 0},
    {"query": "Cats and the", "choices": ["dogs", "then"], "gold": 1},
]
PROMPTS = [
    "Question: What do bees make?\nAnswer:",
    "Question: Where do fish live?\nAnswer:",
    "The sun is",
    "Question: What is 1 + 1?\nAnswer:",
    "Cats and the",
]


def largest(values):
    return max(range(len(values)), key=values.__getitem__)


def test_multiple_choice_is_what_fp64_says(run, reference):
    result = run(CHOICES)
    right, right_norm = [], []
    for row, prompt, item in zip(CHOICES, PROMPTS, result.items, strict=True):
        logs = [reference.score(prompt, " " + choice)[0] for choice in row["choices"]]
        assert item["loglikelihoods"] == pytest.approx(logs, rel=1e-5)
        normed = [log / len(choice) for log, choice in zip(logs, row["choices"], strict=True)]
        right.append(int(largest(logs) == row["gold"]))
        right_norm.append(int(largest(normed) == row["gold"]))
        assert item["metrics"] == {"acc": right[-1], "acc_norm": right_norm[-1]}
        assert item["target"] == row["gold"]
    assert 0 < sum(right) < 5  # the model is random, the test is not: both outcomes occur
    assert right != right_norm
    expected = {"acc": {"value": sum(right) / 5, "n": 5}, "acc_norm": {"value": sum(right_norm) / 5, "n": 5}}
    assert result.facts["scores"] == result.scores == expected
    assert result.facts["chance"] == pytest.approx((1 / 3 + 1 / 3 + 1 / 2 + 1 / 4 + 1 / 2) / 5)
    assert [item["doc_id"] for item in result.items] == [0, 1, 2, 3, 4]


def test_letters_are_scored_behind_the_list_of_answers(run, reference):
    row = {
        "subject": "abstract_algebra",
        "question": "What is 2 + 2?",
        "choices": ["4", "5", "22"],
        "answer": 0,
    }
    (item,) = run([row]).items
    prompt = (
        "The following are multiple choice questions (with answers) about abstract algebra.\n\n"
        "What is 2 + 2?\nA. 4\nB. 5\nC. 22\nAnswer:"
    )
    logs = [reference.score(prompt, letter)[0] for letter in (" A", " B", " C")]
    assert item["loglikelihoods"] == pytest.approx(logs, rel=1e-5)
    assert item["metrics"] == {"acc": int(largest(logs) == 0)}


def test_schema_compares_contexts(run, reference):
    row = {"context_options": ["The cat saw the dog so the dog", "The cat saw the dog so the cat"],
           "continuation": "ran.", "gold": 0}  # fmt: skip
    (item,) = run([row]).items
    logs = [reference.score(context, " ran.")[0] for context in row["context_options"]]
    assert item["loglikelihoods"] == pytest.approx(logs, rel=1e-5)
    assert item["metrics"] == {"acc": int(largest(logs) == 0)}


def test_continuation_is_greedy_match_and_perplexity(run, tmp_path):
    folder = tiny_model(tmp_path / "model", seed=20)  # a seed whose greedy answer here starts with a space
    reference = Reference(folder)
    context, said = "A horse can", reference.answer("A horse can", 2)
    rows = [{"context": context, "continuation": one} for one in (said, said.strip(), "jump")]
    result = run(rows, model=str(folder))
    expected = [reference.score(context, one) for one in (said, said, " jump")]
    assert [greedy for _, greedy in expected] == [True, True, False]
    for item, (log, greedy) in zip(result.items, expected, strict=True):
        assert item["metrics"] == {"acc": int(greedy), "loglikelihood": pytest.approx(log, rel=1e-5)}
    mean = sum(log for log, _ in expected) / 3
    assert result.scores["perplexity"]["value"] == pytest.approx(math.exp(-mean), rel=1e-4)
    assert result.scores["acc"] == {"value": 2 / 3, "n": 3}


def test_exact_match_reads_the_greedy_first_line(run, reference):
    prompts = [f"Question: What is {word}?\nAnswer:" for word in ("red", "a horn", "the sea", "snow")]
    said = [reference.answer(prompt, 6).split("\n")[0] for prompt in prompts]
    rows = [{"context": prompts[0], "answer": "nothing", "aliases": [f"The {said[0].upper()}!"]},
            {"context": prompts[1], "answer": said[1].swapcase() + ".", "match": "exact"},
            {"context": prompts[2], "answer": said[2], "match": "exact"},
            {"context": prompts[3], "answer": "nothing like it", "aliases": []}]  # fmt: skip
    result = run(rows, entry={"max_tokens": 6})
    assert [item["response"] for item in result.items] == said
    assert [item["metrics"]["exact_match"] for item in result.items] == [1, 0, 1, 0]
    assert result.scores == {"exact_match": {"value": 0.5, "n": 4}}
    assert result.facts["chance"] is None


def test_number_scores_the_last_number(run, reference, monkeypatch):
    prompt = "Question: How many legs has a cat?\nAnswer:"
    said = reference.answer(prompt, 8)
    row = {"context": "How many legs has a cat?", "chain_of_thought": "2 + 2 = <<2+2=4>>4", "answer": "4"}
    (item,) = run([row], entry={"max_tokens": 8}).items
    assert item["response"] == said.split("Question:")[0]
    assert item["metrics"]["exact_match"] == 0

    from dtm.evaluate.lm_eval_model import LanguageModel

    monkeypatch.setattr(
        LanguageModel, "generate_until", lambda self, requests: ["I had 3,000, so 3 + 1 is $4.00."]
    )
    (item,) = run([row], entry={"max_tokens": 8}).items
    assert item["metrics"]["exact_match"] == 1


def test_examples_stand_before_the_question(run, write, reference):
    shots = [{"query": "Question: Is snow hot?", "choices": ["yes", "no"], "gold": 1},
             {"query": "Question: Is fire hot?", "choices": ["yes", "no"], "gold": 0}]  # fmt: skip
    entry = {"shots": 2, "shots_from": write(shots, "shots.jsonl")}
    result = run(CHOICES[:1], entry=entry)
    prompt = "Question: Is snow hot?\nAnswer: no\n\nQuestion: Is fire hot?\nAnswer: yes\n\n" + PROMPTS[0]
    logs = [reference.score(prompt, " " + choice)[0] for choice in CHOICES[0]["choices"]]
    assert result.items[0]["loglikelihoods"] == pytest.approx(logs, rel=1e-5)


def test_examples_from_the_file_itself_are_not_scored(run, reference):
    result = run(CHOICES, entry={"shots": 1})
    assert [item["doc_id"] for item in result.items] == [1, 2, 3, 4]
    prompt = f"{PROMPTS[0]} honey\n\n{PROMPTS[4]}"
    logs = [reference.score(prompt, " " + choice)[0] for choice in ("dogs", "then")]
    assert result.items[3]["loglikelihoods"] == pytest.approx(logs, rel=1e-5)


@pytest.mark.parametrize("shots", [0, 1])
def test_chat_puts_the_question_into_a_turn(run, reference, shots):
    result = run(CHOICES[:2], chat=True, entry={"shots": shots})
    turns = (
        [{"role": "user", "content": PROMPTS[0]}, {"role": "assistant", "content": "honey"}] if shots else []
    )
    turns.append({"role": "user", "content": PROMPTS[1]})
    prompt = reference.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    # lm-eval counts the line break that ends the prompt with what follows.
    logs = [reference.score(prompt[:-1], "\n" + choice)[0] for choice in CHOICES[1]["choices"]]
    assert result.items[-1]["loglikelihoods"] == pytest.approx(logs, rel=1e-5)


def test_the_same_job_gives_the_same_bytes_whatever_came_before(run):
    first = run(CHOICES)
    loading._kept.clear()
    assert run(CHOICES[:3], output="other").files != first.files
    assert run(CHOICES, output="again").files == first.files
    batched = run(CHOICES, output="batched", batch_size=1)
    for one, other in zip(first.items, batched.items, strict=True):
        assert one["loglikelihoods"] == pytest.approx(other["loglikelihoods"], rel=1e-5)


def test_a_model_is_loaded_once_and_again_when_it_changes(run, tmp_path, monkeypatch):
    folder = tiny_model(tmp_path / "changing", seed=1)
    loads, load = [], loading._load
    monkeypatch.setattr(loading, "_load", lambda *arguments: loads.append(arguments) or load(*arguments))
    first = run(CHOICES, model=str(folder))
    run(CHOICES[:2], model=str(folder))
    assert len(loads) == 1
    tiny_model(folder, seed=2)
    assert run(CHOICES, model=str(folder)).items[0]["loglikelihoods"] != first.items[0]["loglikelihoods"]
    assert len(loads) == 2


def test_an_adapter_is_its_merged_weights(run, model, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    config = LoraConfig(
        r=4, lora_alpha=16, target_modules="all-linear", init_lora_weights=False, use_rslora=True
    )
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(model), config)
    adapted.save_pretrained(tmp_path / "adapter")
    state = {name: value.double() for name, value in adapted.state_dict().items()}
    dense = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64)
    with torch.no_grad():
        for name, module in dense.named_modules():
            if f"base_model.model.{name}.lora_A.default.weight" in state:
                left, right = (state[f"base_model.model.{name}.lora_{side}.default.weight"] for side in "BA")
                module.weight += 16 / math.sqrt(4) * left @ right
    dense.save_pretrained(tmp_path / "dense")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "dense")
    by_hand = Reference(tmp_path / "dense")
    item = run(CHOICES, adapter=str(tmp_path / "adapter")).items[0]
    logs = [by_hand.score(PROMPTS[0], " " + choice)[0] for choice in CHOICES[0]["choices"]]
    assert item["loglikelihoods"] == pytest.approx(logs, rel=1e-4)
    assert run(CHOICES).items[0]["loglikelihoods"] != pytest.approx(logs, rel=1e-2)


def test_progress_ends_at_the_number_of_requests_and_the_terminal_stays_clean(run, capfd):
    told = []
    run(CHOICES, progress=told.append)
    assert told[-1] == {"done": 14, "total": 14}
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_what_does_not_fit_is_cut_at_its_start_and_counted(run, reference):
    rows = [{"query": "the sea " * 40, "choices": ["a", "b"], "gold": 0}, CHOICES[4]]
    result = run(rows, max_length=64)
    assert result.facts["truncated"] == 2
    ids = reference.encode(rows[0]["query"].rstrip() + " a")[-65:]
    assert result.items[0]["loglikelihoods"][0] == pytest.approx(
        float(reference.logs(ids)[-2][ids[-1]]), rel=1e-5
    )
    with pytest.raises(DataError, match="not between 1 and the 8"):
        run([{"query": "So", "choices": ["a", "q" * 30], "gold": 0}], max_length=8)


def test_prompts_too_long_for_an_answer_are_counted_too(run):
    rows = [{"context": "the sea " * 40, "answer": "a"}, {"context": "So", "answer": "b"}]
    assert run(rows, max_length=64, entry={"max_tokens": 4}).facts["truncated"] == 1
    with pytest.raises(DataError, match="leaves no room"):
        run(rows, max_length=32, entry={"max_tokens": 32})


def test_a_file_that_changed_since_it_was_checked_is_refused(model, write, tmp_path):
    (task,) = resolve([write(CHOICES)], tmp_path)
    write(CHOICES[:4])
    with pytest.raises(DataError, match="changed since it was checked"):
        evaluate({"model": str(model), "adapter": None, "task": task.spec, "output": str(tmp_path / "out")})


def test_a_broken_model_is_not_scored(run, model, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    broken = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        broken.model.norm.weight[0] = float("nan")
    broken.save_pretrained(tmp_path / "broken")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "broken")
    with pytest.raises(ModelError, match="not finite"):
        run(CHOICES, model=str(tmp_path / "broken"))


def test_models_that_cannot_be_used_say_so(run, tmp_path):
    with pytest.raises(MissingInput, match="no such model folder"):
        run(CHOICES, model=str(tmp_path / "nowhere"))
    bare = tiny_model(tmp_path / "bare", template=False)
    with pytest.raises(ModelError, match="no chat template"):
        run(CHOICES, model=str(bare), chat=True)
    (bare / "model.safetensors").rename(bare / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickles"):
        run(CHOICES, model=str(bare))
    (tmp_path / "adapter").mkdir()
    with pytest.raises(MissingInput, match="adapter_model"):
        run(CHOICES, adapter=str(tmp_path / "adapter"))


def test_a_backend_of_lm_evals_registry_scores_the_same(run):
    backend = {"model": "hf", "model_args": {"dtype": "float32"}}
    theirs, ours = run(CHOICES, backend=backend, output="hf"), run(CHOICES)
    assert theirs.scores == ours.scores
    for one, other in zip(theirs.items, ours.items, strict=True):
        assert one["loglikelihoods"] == pytest.approx(other["loglikelihoods"], rel=1e-5)
        assert one["prompt"] == other["prompt"]
    with pytest.raises(ConfigError, match="no model 'hff'"):
        run(CHOICES, backend={"model": "hff"})
    with pytest.raises(ConfigError, match="cannot evaluate an adapter"):
        run(CHOICES, backend={"model": "vllm"}, adapter="somewhere")


def test_a_task_that_lm_eval_defines(run, model, tmp_path, monkeypatch, reference):
    from lm_eval.tasks import TaskManager

    data = tmp_path / "rows.jsonl"
    data.write_text(
        "".join(
            json.dumps({**row, "query": prompt}) + "\n"
            for row, prompt in zip(CHOICES[:2], PROMPTS, strict=False)
        )
    )
    (tmp_path / "task.yaml").write_text(
        f"""
task: theirs
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}, cache_dir: {tmp_path / "cache"}}}
test_split: test
output_type: multiple_choice
doc_to_text: query
doc_to_choice: choices
doc_to_target: gold
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
    )
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    monkeypatch.setattr(harness, "_manager", lambda: manager)
    monkeypatch.setattr("dtm.evaluate.hub.hub_names", lambda: frozenset({"theirs", "absent"}))
    (task, absent) = resolve(["theirs", "absent"], tmp_path)
    job = {
        "model": str(model),
        "adapter": None,
        "task": task.spec,
        "output": str(tmp_path / "out"),
        "dtype": "float32",
    }
    facts = evaluate(job)
    ours = run(CHOICES[:2])
    assert facts["scores"] == {"acc": ours.scores["acc"]}
    assert facts["chance"] == pytest.approx(1 / 3)
    items = [json.loads(line) for line in (tmp_path / "out" / "items.jsonl").read_text().splitlines()]
    assert [item["loglikelihoods"] for item in items] == [item["loglikelihoods"] for item in ours.items]
    assert [item["doc_id"] for item in items] == [0, 1]
    with pytest.raises(MissingInput, match="could not be fetched"):
        evaluate({**job, "task": absent.spec})
