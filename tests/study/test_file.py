"""What a study file may say: arms over what they share, every mistake at once and with its line."""

from __future__ import annotations

import pytest

from dtm.foundations.errors import DtmError
from dtm.study.arms import Arms
from dtm.study.checking import check
from dtm.study.file import read
from tests.study.conftest import STUDY, write_study


def arms_of(tmp_path, text=STUDY, settings=()):
    (tmp_path / "tiny.yaml").write_text(text)
    return Arms(read(tmp_path / "tiny.yaml", settings))


def values_of(arms, name, *, point=None, seed=0, tuning=False):
    from dtm.study.arms import Trial

    trial = Trial(arms.by_name[name], seed, arms.points[0] if point is None else point, tuning)
    return arms.run_file(trial)


def test_arms_lie_over_what_they_share(tmp_path):
    arms = arms_of(tmp_path)
    config = values_of(arms, "vanilla", seed=1).config
    assert (config.recipe.method, config.seed) == ("vanilla_sft", 1)
    assert config.disperse.method == "kmeans"
    assert config.train.args["learning_rate"] == 1e-3
    tuned = values_of(arms, "vanilla", point={"train.args.learning_rate": 0.5}).config
    assert tuned.train.args == {**config.train.args, "learning_rate": 0.5}


def test_another_method_keeps_what_all_methods_share_and_drops_the_rest(tmp_path):
    shared = "disperse: {method: kmeans, k: 2, dimensions: 8, balanced: true}"
    arms = arms_of(tmp_path, STUDY.replace("disperse: {method: kmeans, k: 2, dimensions: 8}", shared))
    assert values_of(arms, "vanilla").document.values["disperse"]["balanced"] is True
    assert values_of(arms, "dtm").document.values["disperse"] == {"method": "random", "k": 2, "dimensions": 8}


def test_dotted_keys_lists_and_nulls_replace(tmp_path):
    text = STUDY.replace("{name: dtm, disperse: {method: random}}",
                         "{name: dtm, train.lora: null, data: [{path: adds.jsonl}]}")  # fmt: skip
    config = values_of(arms_of(tmp_path, text), "dtm").config
    assert config.train.lora is None
    assert config.data == [{"path": "adds.jsonl"}]


def test_runs_that_tune_see_no_test_item(tmp_path):
    arms = arms_of(tmp_path)
    trials = arms.grid_trials(arms.by_name["dtm"])
    assert [(trial.seed, trial.point["train.args.learning_rate"]) for trial in trials] == [
        (7, 1e-3),
        (7, 3e-2),
    ]
    assert all(arms.run_file(trial).config.evaluate.tasks == [] for trial in trials)
    assert arms.grid_trials(arms.by_name["dtm-clusters"]) == []
    assert arms.run_file(arms.final_trials(arms.by_name["dtm"], trials[0].point)[0]).config.evaluate.tasks


def test_runs_that_tune_drop_the_rows_that_the_finished_ones_drop(tmp_path):
    arms = arms_of(tmp_path, settings=["run.decontaminate={ngram: 9}"])
    final = values_of(arms, "dtm")
    tuning = [arms.run_file(trial).config for trial in arms.grid_trials(arms.by_name["dtm"])]
    for config in (final.config, *tuning):
        assert config.decontaminate.ngram == 9
        assert config.decontaminate.tasks == final.config.evaluate.tasks != []


def test_a_run_section_may_stand_in_a_file_of_its_own(tmp_path):
    head, _, rest = STUDY.partition("run:\n")
    section, _, tail = rest.partition("seeds:")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "base.yaml").write_text("\n".join(line[2:] for line in section.splitlines()))
    arms = arms_of(tmp_path, f"{head}run: shared/base.yaml\nseeds:{tail}", ["run.train.args.max_steps=9"])
    file = values_of(arms, "dtm")
    assert file.config.train.args["max_steps"] == 9
    assert file.root == tmp_path / "shared"
    assert file.where("train.lora") == f"{tmp_path / 'shared' / 'base.yaml'}:8: train.lora"
    assert file.where("disperse.method").endswith("tiny.yaml:7: arms.1.disperse.method")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("seeds: [0, 1]", "seeds: [0, 0]", "tiny.yaml:14: seeds: seeds are whole numbers from 0, each said once"),
        ("seeds: [0, 1]", "seds: [0, 1]", "tiny.yaml:14: seds: there is no such key. Did you mean `seeds`?"),
        ("name: dtm,", "name: vanilla,", "tiny.yaml:18: arms.1.name: there are two arms 'vanilla'"),
        ("name: dtm,", "name: base,", "tiny.yaml:18: arms.1.name: 'base' cannot be an arm's name"),
        ("name: dtm,", "name: ../dtm,", "arms.1.name: '../dtm' cannot be an arm's name"),
        ("seeds: [0], grid: dtm", "seeds: [3]", "tiny.yaml:19: arms.2.seeds: seed 3 is none of the study's"),
        ("grid: dtm", "grid: dmt", "there is no other arm 'dmt'. Did you mean 'dtm'?"),
        ("costs:", "against: vanila\ncosts:", "tiny.yaml:21: against: there is no arm 'vanila'"),
        ("train.args.learning_rate: [1e-3, 3e-2]}", "seed: [1, 2]}", "grid.over.seed: a grid cannot go over seed"),
        ("train.args.learning_rate: [1e-3, 3e-2]}", "evaluate.limit: [1]}", "a grid cannot go over evaluate.limit"),
        ("costs:", "curves: [vanilla, dmt]\ncosts:", "tiny.yaml:21: curves.1: there is no arm 'dmt'"),
    ],
)  # fmt: skip
def test_mistakes_of_the_study_file_are_told_with_their_line(tmp_path, before, after, said):
    with pytest.raises(DtmError) as error:
        arms_of(tmp_path, STUDY.replace(before, after))
    assert said in error.value.message


def test_mistakes_of_all_arms_are_told_at_once_and_shared_ones_once(inputs, tmp_path):
    text = (
        STUDY.replace("disperse: {method: random}", "disperse: {method: randon}, seed: 3")
        .replace("grid: dtm", "recpie: vanilla_sft")
        .replace("adds.jsonl", "lost.jsonl")
        .replace("3e-2]", "hot]")
    )
    path = write_study(inputs, tmp_path, text)
    with pytest.raises(DtmError) as error:
        check(Arms(read(path)))
    message = error.value.message
    assert "an arm cannot have a 'seed' of its own" in message
    assert "tiny.yaml:19: arms.2.recpie: there is no such key. Did you mean `recipe`?" in message
    assert message.count("lost.jsonl") == 1
    assert "tiny.yaml:15: grid.over.train.args.learning_rate: 'hot' is not float" in message


def test_gains_and_costs_name_tasks_that_are_evaluated(inputs, tmp_path):
    path = write_study(inputs, tmp_path, STUDY.replace("costs: [sums]", "costs: [sum]"))
    with pytest.raises(DtmError, match="no task 'sum' is evaluated"):
        check(Arms(read(path)))


def test_no_arm_may_drop_a_sub_model(inputs, tmp_path):
    path = write_study(inputs, tmp_path, STUDY)
    with pytest.raises(DtmError, match="on_failure: the arm dtm would drop a sub-model that fails"):
        check(Arms(read(path, ["run.on_failure=drop"])))
