import json
from itertools import islice

import pytest

from dtm.testbed.pretrain import Settings
from dtm.testbed.pretrain.__main__ import main, make
from dtm.testbed.pretrain.text import documents
from dtm.testbed.pretrain.tokenizer import train_tokenizer
from dtm.testbed.pretrain.training import _rate, _windows
from dtm.testbed.pretrain.wording import Wordings

TINY = Settings(
    steps=2, batch=2, window=32, hidden=16, inner=16, heads=2, layers=1, vocabulary=400, threads=1
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "first"
    return folder, make(folder, TINY)


def test_two_steps_make_a_base_with_its_facts(made):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, facts = made
    assert json.loads((folder / "base.json").read_text()) == facts
    assert facts["tokens"] == 2 * 2 * 32
    assert facts["holds"]["told"]["all"] == {"share": 0.0, "facts": facts["holds"]["told"]["all"]["facts"]}
    assert len(AutoTokenizer.from_pretrained(folder)) == 400
    assert AutoModelForCausalLM.from_pretrained(folder).config.tie_word_embeddings


def test_the_same_seed_gives_the_same_weights(made, tmp_path):
    folder, _ = made
    make(tmp_path / "again", TINY)
    for name in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_the_command_line_sets_every_setting_and_keeps_what_is_there(tmp_path, capsys):
    words = [f"--{name.replace('_', '-')}={value}" for name, value in vars(TINY).items() if name != "compile"]
    main([str(tmp_path / "base"), *words])
    assert json.loads((tmp_path / "base" / "base.json").read_text())["settings"] == vars(TINY)
    assert "step 2/2" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([str(tmp_path / "base"), *words])


def test_windows_are_the_documents_end_to_end(world):
    wordings = Wordings(world)
    tokenizer = train_tokenizer(islice(documents(wordings, 0), 500), 400)
    windows = [token for window in islice(_windows(wordings, tokenizer, TINY), 200) for token in window]
    from dtm.foundations.seeds import derive

    expected = []
    for text in islice(documents(wordings, derive(TINY.seed, "training")), 400):
        expected += [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    assert len(windows) == 200 * TINY.window
    assert windows == expected[: len(windows)]


def test_the_rate_rises_and_falls_to_a_tenth():
    settings = Settings(steps=1000, warm_up=100, learning_rate=1.0)
    rates = [_rate(step, settings) for step in range(1001)]
    assert rates[99] == rates[100] == 1.0
    assert rates[:100] == sorted(rates[:100])
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[1000] == pytest.approx(0.1)
