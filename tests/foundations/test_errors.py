import copy
import pickle

import pytest

from dtm.foundations import errors
from dtm.foundations.errors import ConfigError, DataError, DtmError, MissingInput, several

KINDS = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, DtmError)]


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = [line for line in errors.__doc__.splitlines() if "── " in line]
    found = {line.split("── ")[1].split()[0]: line.split("(")[1].split(")")[0] for line in drawn}
    assert found == {kind.__name__: kind.__bases__[1].__name__ for kind in KINDS if kind is not DtmError}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy] + [
    lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
])  # fmt: skip
def test_every_kind_survives_the_way_to_another_process(kind, again):
    error = kind("what is wrong", where="run.yaml:3: key", mend="Do that")
    back = again(error)
    assert type(back) is kind
    assert (back.what, back.where, back.mend) == ("what is wrong", "run.yaml:3: key", "Do that")
    assert str(back) == str(error) == "run.yaml:3: key: what is wrong. Do that."


@pytest.mark.parametrize("kind", KINDS)
def test_str_is_the_message_whatever_the_built_in_base_makes_of_it(kind):
    assert str(kind("one")) == kind("one").message == "one."


@pytest.mark.parametrize(("error", "message"), [
    (DtmError("no dot"), "no dot."), (DtmError("a dot."), "a dot."), (DtmError("really?"), "really?"),
    (DtmError("no", mend="Did you mean 'yes'?"), "no. Did you mean 'yes'?"),
    (DtmError("no", where=3, mend="Go!"), "3: no. Go!"), (DtmError("no", where=""), "no."),
    (DtmError("no", mend=""), "no."),
])  # fmt: skip
def test_a_message_is_one_paragraph_with_full_stops(error, message):
    assert error.message == message


def test_where_may_be_a_path(tmp_path):
    assert ConfigError("no", where=tmp_path).where == str(tmp_path)


def test_library_users_may_catch_the_built_in_type():
    with pytest.raises(FileNotFoundError):
        raise MissingInput("gone")
    with pytest.raises(ValueError, match="bad"):
        raise DataError("bad")


def test_one_error_is_itself_and_several_are_numbered():
    one = MissingInput("gone", where="a")
    assert several([one]) is one
    folded = several([one, DataError("bad", mend="Mend it")])
    assert isinstance(folded, ConfigError)
    assert folded.message == "2 things are wrong:\n  1. a: gone.\n  2. bad. Mend it."


def test_folded_errors_unfold_into_one_list():
    inner = several([DataError("one"), DataError("two")])
    assert (
        several([inner, DataError("three")]).message
        == "3 things are wrong:\n  1. one.\n  2. two.\n  3. three."
    )
    assert several([several([DataError("one")])]).message == "one."
