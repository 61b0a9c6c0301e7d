"""What the key of a base's Fisher information depends on, and with it that of a training that it holds."""

from __future__ import annotations

import pytest

from dtm.pipeline import run
from tests.pipeline.conftest import RUN, write_run

FISHER = "rows: 6, labels: drawn"
PLAIN = RUN.replace("disperse: {method: kmeans, k: 2, dimensions: 8, on: both}", "recipe: vanilla_sft")


@pytest.fixture(scope="module")
def keys(inputs, tmp_path_factory, warm):
    """A function from the Fisher section and the weight to the keys of the Fisher step and of the training."""
    out = tmp_path_factory.mktemp("fisher")

    def planned(fisher=FISHER, weight=3, more=""):
        text = PLAIN.replace(
            "train:\n", f"train:\n  regularise: {{method: ewc, weight: {weight}, fisher: {{{fisher}}}}}\n"
        )
        plan = run(write_run(inputs, out, text + more), [f"output_dir={out / 'run'}"], dry_run=True, **warm)
        found = {
            step["kind"]: step["key"] for step in plan["steps"] if step["kind"] in ("base_fisher", "train")
        }
        return found["base_fisher"], found["train"]

    return planned


@pytest.mark.parametrize("fisher", ["rows: 7, labels: drawn", "rows: 6, labels: given",
                                    "rows: 6, labels: drawn, data: [{path: colours.jsonl}]"])  # fmt: skip
def test_every_fisher_setting_is_in_both_keys(keys, fisher):
    assert len({*keys(), *keys(fisher)}) == 4
    assert keys(fisher) == keys(fisher)


def test_the_weight_is_in_the_trainings_key_alone(keys):
    first, second = keys(), keys(weight=4)
    assert first[0] == second[0]
    assert first[1] != second[1]
