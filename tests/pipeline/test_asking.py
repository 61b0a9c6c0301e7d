"""A language model in a run: its section checked early, a step that is asked once, a key that shows nowhere."""

from __future__ import annotations

import pytest

from dtm.config import read
from dtm.foundations.errors import ConfigError
from dtm.pipeline.check_llm import check_llm

SECRET = "sk-not-to-be-seen"


def faults(section):
    file = read({"base": "b", "data": ["d"], "output_dir": "o", "llm": section})
    return [one.message for one in check_llm(file)]


@pytest.mark.parametrize(("section", "told"), [
    ({"model": "m"}, ["llm.base_url: an endpoint needs its address"]),
    ({"model": "m", "base_url": "http://x/v1", "batch_size": 4}, ["llm.batch_size: llm.kind is openai"]),
    ({"model": "m", "base_url": "http://x/v1", "max_cost": 1.0}, ["llm.max_cost: a cost needs prices"]),
    ({"model": "m", "base_url": "http://x/v1", "api_key_env": "NO_SUCH_KEY"}, ["NO_SUCH_KEY is not set"]),
    ({"model": "nowhere", "kind": "hf"}, ["there is no model at 'nowhere'"]),
    ({"model": "wrds", "kind": "rules"}, ["Did you mean 'words'?"]),
    ({"model": "words", "kind": "rules", "settings": {"scale": -1.0}}, ["llm.settings.scale: -1.0 is not a number"]),
    ({"model": "words", "kind": "rules", "max_cost": 1.0, "timeout": 3.0}, ["llm.timeout", "llm.max_cost"]),
    ({"model": "words", "kind": "rules"}, []),
])  # fmt: skip
def test_what_is_wrong_with_the_section_is_told_before_any_work(section, told):
    found = faults(section)
    assert len(found) == len(told)
    assert all(word in message for word, message in zip(told, found, strict=True))


def test_a_key_in_the_file_is_refused_and_not_shown():
    with pytest.raises(ConfigError, match="Did you mean `api_key_env`") as caught:
        faults({"model": "m", "api_key": SECRET})
    assert SECRET not in caught.value.message
    assert SECRET not in "".join(faults({"model": "m", "base_url": "http://x/v1", "api_key_env": SECRET}))
