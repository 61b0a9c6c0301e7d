"""What is read from the sources of trl, transformers and peft is what their classes say when imported."""

import ast
import dataclasses

import pytest

from dtm.foundations import dataclass_fields
from dtm.foundations.dataclass_fields import settings_of
from dtm.foundations.errors import StoreError


@pytest.fixture(scope="module", params=["SFTConfig", "LoraConfig"])
def real(request):
    import peft
    import trl

    return {"SFTConfig": trl.SFTConfig, "LoraConfig": peft.LoraConfig}[request.param]


@pytest.mark.slow
def test_names_are_those_of_the_class(real):
    """`auto_mapping` and `peft_version` come with the adapter's file, and are settings like the others."""
    assert sorted(settings_of(real.__name__)) == sorted(
        one.name for one in dataclasses.fields(real) if one.init
    )


@pytest.mark.slow
def test_plain_defaults_are_those_of_the_class(real):
    told = 0
    for one in dataclasses.fields(real):
        default = settings_of(real.__name__)[one.name].default
        if default is not None:
            assert one.default == default, one.name
            told += 1
    assert told > 8


@pytest.mark.slow
def test_annotations_are_those_of_the_class(real):
    for one in dataclasses.fields(real):
        said = settings_of(real.__name__)[one.name].annotation
        ast.parse(said, mode="eval")
        if isinstance(one.type, str):
            assert said == ast.unparse(ast.parse(one.type, mode="eval")), one.name


def test_known_settings():
    found = settings_of("SFTConfig")
    assert found["max_length"].default == 1024
    assert found["num_train_epochs"].default == 3.0
    assert found["learning_rate"].default == 2e-5
    assert settings_of("LoraConfig")["r"].default == 8
    assert settings_of("LoraConfig")["target_modules"].default is None
    assert settings_of("SFTConfig") is found


@pytest.fixture
def fresh():
    settings_of.cache_clear()
    yield
    settings_of.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_a_library_that_is_not_there_is_one_message(monkeypatch):
    monkeypatch.setitem(dataclass_fields._PLACES, "LoraConfig", ("no_such_library", "config.py"))
    with pytest.raises(StoreError, match=r"'no_such_library' is not installed\. pip install no_such"):
        settings_of("LoraConfig")


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("file", ["config.py", "no_such_file.py"])
def test_a_version_that_keeps_its_class_elsewhere_is_one_message(monkeypatch, file):
    monkeypatch.setitem(dataclass_fields._PLACES, "LoraConfig", ("peft", file))
    with pytest.raises(StoreError, match=r"holds no class LoraConfig\. Install a version"):
        settings_of("LoraConfig")


def test_no_library_is_imported_for_it():
    import subprocess
    import sys

    script = (
        "import sys; from dtm.foundations.dataclass_fields import settings_of\n"
        "assert len(settings_of('SFTConfig')) > 100 and len(settings_of('LoraConfig')) > 10\n"
        "assert not {'trl', 'peft', 'transformers', 'torch'} & sys.modules.keys(), sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
