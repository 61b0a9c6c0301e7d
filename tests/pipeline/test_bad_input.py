"""Every mistake gets one message that says what, where and how to mend, and exit code 2, before any work."""

from __future__ import annotations

import shutil
import sys

import pytest

from dtm.cli import main
from dtm.foundations.errors import DtmError
from dtm.pipeline import run
from tests.pipeline.conftest import RUN, write_run

MISTAKES = {
    "wrong key": (("disperse:", "dispers:"), r"there is no such key.*Did you mean `disperse`\?"),
    "wrong nested key": (("learning_rate", "learning_rat"), r"Did you mean 'learning_rate'\?"),
    "wrong LoRA key": (("lora_alpha: 8", "lora_alfa: 8"), r"no setting of LoraConfig 'lora_alfa'.*lora_alpha"),
    "wrong method": (("method: kmeans", "method: kmean"), r"no disperse method 'kmean'.*'kmeans'"),
    "wrong merge method": (("dev:", "merge: {method: linaer}\ndev:"), r"no merge method 'linaer'.*'linear'"),
    "wrong recipe": (("base:", "recipe: vanila_sft\nbase:"), r"no recipe method 'vanila_sft'.*'vanilla_sft'"),
    "wrong setting of a method": (("k: 2", "k: 2, balancd: true"), r"balancd: .*`balanced`"),
    "a density of percents": (
        ("dev:", "merge:\n  method: ties\n  density: [0.1, 20]\ndev:"),
        r"run.yaml:\d+: merge.density.1: 20 is not a number from 0 to 1",
    ),
    "a wrapped method's setting": (
        ("dev:", "merge: {method: lines, of: {name: ties, density: -1}}\ndev:"),
        r"run.yaml:\d+: merge.of.density: -1 is not a number from 0 to 1",
    ),
    "no restart": (("k: 2", "k: 2, restarts: 0"), r"run.yaml:\d+: disperse.restarts: 0 is not a number of at least 1"),
    "value of the wrong type": (("1e-3", "fast"), r"'fast' is not float"),
    "negative learning rate": (("1e-3", "-1e-3"), r"learning_rate must be above 0"),
    "reserved setting": (("num_train_epochs: 1", "output_dir: x"), r"`output_dir` cannot be set here"),
    "missing data": (("path: adds.jsonl", "path: addz.jsonl"), r"addz.jsonl"),
    "empty data": (("path: adds.jsonl", "path: empty.jsonl"), r"empty.jsonl.*empty"),
    "no usable row": (("path: adds.jsonl", "path: useless.jsonl"), r"useless.jsonl"),
    "missing base": (("base: model", "base: ./nowhere"), r"there is no model at './nowhere'"),
    "corrupt base": (("base: model", "base: corrupt"), r"corrupt or cut short"),
    "pickled base": (("base: model", "base: pickled"), r"pickles.*Convert them"),
    "missing benchmark": (("path: sums.jsonl", "path: sumz.jsonl"), r"sumz.jsonl"),
    "more portions than rows": (("k: 2", "k: 2000"), r"rows cannot fill 2000 portions.*Set k to"),
    "weights of another number": (("dev:", "merge: {weights: [1, 2, 3]}\ndev:"), r"3 weights for 2 sub-models"),
    "adapter space without LoRA": (
        ("  lora: {r: 4, lora_alpha: 8, lora_dropout: 0.1}\n", ""),
        ("dev:", "merge: {space: adapter}\ndev:"),
        r"`space: adapter` needs LoRA",
    ),
    "two mistakes at once": (("dev:", "merge: {method: nope}\nseed: -1\ndev:"), r"seed"),
    "wrong template": (("dev:", "chat: {template: chatlm}\ndev:"), r"no chat template 'chatlm'.*chatml"),
    "a model for a method that takes two": (
        ("k: 2", "k: 3"),
        ("dev:", "merge: {method: slerp}\ndev:"),
        r"'slerp' merges 2 models, and disperse.k is 3",
    ),
    "an adapter from a method without": (
        ("dev:", "merge: {method: ties, export: adapter}\ndev:"),
        r"merge.export: 'ties' does not merge to an adapter",
    ),
    "factors of full sub-models": (
        ("  lora: {r: 4, lora_alpha: 8, lora_dropout: 0.1}\n", ""),
        ("dev:", "merge: {method: lora_svd, rank: 4}\ndev:"),
        r"'lora_svd' merges adapters",
    ),
    "a number that is none": (("1e-3", ".nan"), r"run.yaml:\d+: train.args.learning_rate: this is not a finite"),
    "wrong dtype": (("dev:", "model: {dtype: float33}\ndev:"), r"no dtype 'float33'.*'float32'"),
    "code of others": (("dev:", "model: {trust_remote_code: true}\ndev:"), r"a model's own code is never run"),
    "quantised full training": (
        ("  lora: {r: 4, lora_alpha: 8, lora_dropout: 0.1}\n", ""),
        ("dev:", "model: {quantization: {load_in_4bit: true}}\ndev:"),
        r"a quantised base trains adapters only",
    ),
    "wrong key of a backend": (("  models:", "  backend: {modle: hf}\n  models:"), r"Did you mean `model`\?"),
    "a recipe twice": (("dev:", "baselines: [vanilla_sft, vanilla_sft]\ndev:"), r"'vanilla_sft' would be run twice"),
    "a setting that a recipe has not": (
        ("dev:", "recipe: {name: wise_ft, alpah: 0.5}\ndev:"),
        r"run.yaml:\d+: recipe.alpah: there is no setting of recipe method 'wise_ft' 'alpah'.*'alpha'",
    ),
    "an alpha of percents": (
        ("dev:", "recipe: {name: wise_ft, alpha: 50}\ndev:"),
        r"run.yaml:\d+: recipe.alpha: 50 is not a number from 0 to 1",
    ),
    "a grid with a point outside": (
        ("dev:", "baselines:\n  - {name: wise_ft, alpha: dev, grid: [0.5, 1.5]}\ndev:"),
        r"run.yaml:\d+: baselines.0.grid.1: 1.5 is not a number from 0 to 1",
    ),
    "an empty grid": (("dev:", "recipe: {name: wise_ft, alpha: dev, grid: []}\ndev:"), r"\[\] is too short"),
    "no checkpoint to stop at": (
        ("dev:", "recipe: {name: early_stopping, checkpoints: 0}\ndev:"),
        r"recipe.checkpoints: 0 is not a number of at least 1",
    ),
    "nothing to choose on": (
        ("dev: {fraction: 0.1}", "dev: {fraction: 0}\nrecipe: early_stopping"),
        r"recipe.name: there is nothing to choose on.*dev.fraction",
    ),
    "an override that trl does not know": (
        ("dev:", "recipe: {name: uniform_soup, overrides: [{weight_decay: 0.1}, {weight_decai: 0}]}\ndev:"),
        r"recipe.overrides.1.weight_decai: there is no setting of SFTConfig 'weight_decai'.*'weight_decay'",
    ),
    "a sub-model that there is not": (
        ("dev:", "recipe: {name: submodel, index: 2}\ndev:"),
        r"recipe.index: there is no portion 2: disperse.k is 2",
    ),
    "an ensemble in another engine": (
        ("  models:", "  backend: {model: hf}\n  models:"),
        ("dev:", "recipe: ensemble\ndev:"),
        r"evaluate.backend: no backend can evaluate an ensemble",
    ),
    "not YAML": (("base: model", "base: [model"), r"not valid YAML"),
    "a key twice": (("base: model", "base: model\nbase: other"), r"'base' is said twice"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def damaged(inputs):
    """The inputs, and beside them files that no run can use."""
    (inputs / "empty.jsonl").write_text("")
    (inputs / "useless.jsonl").write_text(
        '{"instruction": "a", "output": ""}\n{"instruction": "b", "output": ""}\n'
    )
    shutil.copytree(inputs / "model", inputs / "corrupt")
    whole = (inputs / "corrupt" / "model.safetensors").read_bytes()
    (inputs / "corrupt" / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    shutil.copytree(inputs / "model", inputs / "pickled")
    (inputs / "pickled" / "model.safetensors").rename(inputs / "pickled" / "pytorch_model.bin")
    yield inputs
    for name in ("corrupt", "pickled"):
        shutil.rmtree(inputs / name)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_before_training(damaged, tmp_path, mistake):
    *changes, message = MISTAKES[mistake]
    text = RUN
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = write_run(damaged, tmp_path, text)
    with pytest.raises(DtmError, match=f"(?s){message}"):
        run(path, quiet=True)
    assert not list((tmp_path / ".dtm-store").glob("work/*/scratch/*"))


def test_all_mistakes_come_at_once(damaged, tmp_path):
    text = RUN.replace("method: kmeans", "method: kmean").replace("path: adds.jsonl", "path: addz.jsonl")
    path = write_run(damaged, tmp_path, text.replace("base: model", "base: ./nowhere"))
    with pytest.raises(DtmError) as caught:
        run(path, quiet=True)
    assert all(word in str(caught.value) for word in ("kmean", "addz.jsonl", "nowhere", "3 things are wrong"))


def test_a_mistake_names_file_and_line(damaged, tmp_path):
    path = write_run(damaged, tmp_path, RUN.replace("method: kmeans", "method: kmean"))
    with pytest.raises(DtmError, match=rf"{path}:6: disperse"):
        run(path, quiet=True)


def test_a_mistake_in_the_data_names_file_and_line(damaged, tmp_path):
    path = write_run(damaged, tmp_path, RUN.replace("path: colours.jsonl", "path: colors.jsonl"))
    with pytest.raises(DtmError, match=rf"{path}:5: data.1.path: there is no file"):
        run(path, quiet=True)


def test_the_command_exits_with_2_and_one_paragraph(damaged, tmp_path, monkeypatch, capsys):
    path = write_run(damaged, tmp_path, RUN.replace("base: model", "base: ./nowhere"))
    monkeypatch.setattr(sys, "argv", ["dtm", "run", str(path)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("dtm: ")
    assert "Traceback" not in told


def test_a_missing_run_file_exits_with_2(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dtm", "run", "nowhere.yaml"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "nowhere.yaml: there is no such file" in capsys.readouterr().err


def test_an_output_dir_with_strange_files_is_left_alone(damaged, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    with pytest.raises(DtmError, match="files that no run made"):
        run(write_run(damaged, tmp_path), quiet=True)
    assert (tmp_path / "run" / "thesis.tex").read_text() == "mine"


def test_a_run_that_cannot_fit_the_disk_is_refused_before_training(damaged, tmp_path, monkeypatch):
    monkeypatch.setattr("dtm.pipeline.steps.free_bytes", lambda path: 200_000)
    with pytest.raises(DtmError, match=r"needs about .* GB more of disk.*dtm gc"):
        run(write_run(damaged, tmp_path), quiet=True)
    assert not list((tmp_path / ".dtm-store").glob("work/*/scratch/*"))


def test_target_modules_that_name_nothing_are_told_before_training(damaged, tmp_path):
    text = RUN.replace("lora_dropout: 0.1", "target_modules: [query_key_value]")
    with pytest.raises(DtmError, match="no module of the base is named by target_modules"):
        run(write_run(damaged, tmp_path, text), quiet=True)


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("dtm.cli._run", interrupted)
    monkeypatch.setattr(sys, "argv", ["dtm", "run", "a.yaml"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 130
    assert "the same command goes on from here" in capsys.readouterr().err
