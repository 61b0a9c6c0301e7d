import math
import re

import pytest
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as st

from dtm.foundations.errors import ConfigError, MissingInput
from dtm.foundations.yaml import assign, load, parse

# Plain text that YAML 1.1 and we read differently; see the module's docstring.
FLOAT = re.compile(r"[-+]?(\.[0-9][0-9_]*|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")
DIFFERENT = re.compile(
    r"(?i)(on|off|yes|no)|[-+]?0[0-7_]+|.*:.*|\d{4}-\d\d?-\d\d?.*|" + FLOAT.pattern + r"|[-+]?0[xb].*"
)
texts = st.text(max_size=12).filter(lambda text: not DIFFERENT.fullmatch(text))
names = texts.filter(lambda text: text and "." not in text)  # a path of keys is their names with dots between
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(names, values, min_size=1, max_size=4), st.sampled_from([True, False, None]))
def test_what_yaml_writes_is_read_as_safe_load_reads_it(written, flow):
    text = pyyaml.safe_dump(written, default_flow_style=flow, allow_unicode=True)
    assert parse(text).values == pyyaml.safe_load(text)


@given(st.text("0123456789+-.eE_xXbaf:", max_size=8))
def test_plain_scalars_that_look_like_numbers(text):
    """Where safe_load gives a number we give the same, but for what 1.1 alone calls one; else text."""
    try:
        theirs = pyyaml.safe_load(f"x: {text}")["x"]
    except Exception:  # no YAML, or 0b and 0x without digits, which PyYAML does not survive
        return
    ours = parse(f"x: {text}").values["x"]
    if FLOAT.fullmatch(text) and re.search("[.eE]", text):
        assert ours == float(text.replace("_", ""))
    elif DIFFERENT.fullmatch(text) and not re.fullmatch(r"[-+]?(0|[1-9][0-9_]*)", text):
        assert ours in (theirs, text)
    else:
        assert ours == theirs
        assert type(ours) is type(theirs)


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["{!r}", "{:e}", "{:.17g}", "{:.3E}", "+{!r}"]),
)
def test_every_way_to_write_a_float_is_a_number(number, form):
    text = form.format(number).replace("+-", "-")
    read = parse(f"x: {text}").values["x"]
    assert read == float(text)
    assert isinstance(read, int if re.fullmatch(r"[-+]?\d+", text) else float)


@pytest.mark.parametrize(("text", "value"), [
    ("1e-4", 1e-4), ("3E5", 3e5),
    ("-2e3", -2000.0), ("1.e2", 100.0), (".5", 0.5), ("+.5e-1", 0.05), ("1_000.5", 1000.5),
    ("5", 5), ("-0", 0), ("1_000", 1000), ("0x1F", 31), ("-0b11", -3), (".inf", math.inf), ("-.Inf", -math.inf),
    ("true", True), ("FALSE", False), ("null", None), ("~", None), ("", None),
    ("on", "on"), ("Off", "Off"), ("yes", "yes"), ("NO", "NO"), ("y", "y"), ("2024-05-01", "2024-05-01"),
    ("2024-05-01 10:00:00", "2024-05-01 10:00:00"), ("1:30", "1:30"), ("1:30.5", "1:30.5"), ("0123456", "0123456"),
    ("-017", "-017"), ("e5", "e5"), ("1e", "1e"), (".", "."), ("...x", "...x"), ("1.2.3", "1.2.3"), ("0x", "0x"),
    ("'1e-4'", "1e-4"), ('"true"', "true"), ("!!str 5", "5"), ("!!float 5", 5.0),
])  # fmt: skip
def test_a_scalar_means(text, value):
    read = parse(f"x: {text}").values["x"]
    assert read == value
    assert type(read) is type(value)


def test_nan_is_a_number():
    assert math.isnan(parse("x: .nan").values["x"])


RUN = """\
recipe: disperse_then_merge
data:
  - path: a.jsonl   # the first

  - {path: b.jsonl,
     fraction: 0.5}
train:
    args:
        learning_rate: 1e-4
tasks: [arc_easy,
        piqa]
"""


def test_every_key_has_its_line():
    assert parse(RUN).lines == {
        "recipe": 1, "data": 2, "data.0": 3, "data.0.path": 3, "data.1": 5, "data.1.path": 5, "data.1.fraction": 6,
        "train": 7, "train.args": 8, "train.args.learning_rate": 9, "tasks": 10, "tasks.0": 10, "tasks.1": 11,
    }  # fmt: skip


def test_where_names_file_line_and_key_or_the_nearest_that_is_there(tmp_path):
    (tmp_path / "run.yaml").write_text(RUN)
    document = load(tmp_path / "run.yaml")
    assert document.text == RUN
    assert document.where("data.1.fraction") == f"{tmp_path}/run.yaml:6: data.1.fraction"
    assert document.where("train.args.seed") == f"{tmp_path}/run.yaml:8: train.args.seed"
    assert document.where("merge.method") == f"{tmp_path}/run.yaml: merge.method"
    assert parse(RUN).where("recipe") == "<settings>:1: recipe"


@pytest.mark.parametrize(("text", "key", "place"), [
    ("a: 1\nb: 2\na: 3\n", "'a'", ":3:1"), ("a:\n  b: 1\n  b: 2\n", "'a.b'", ":3:3"),
    ("a: [{b: 1, b: 2}]", "'a.0.b'", ":1:12"), ("a: 1\n'a': 2", "'a'", ":2:1"),
])  # fmt: skip
def test_a_key_said_twice_is_an_error(tmp_path, text, key, place):
    with pytest.raises(ConfigError, match=f"{key} is said twice") as caught:
        parse(text, tmp_path / "run.yaml")
    assert caught.value.where == f"{tmp_path}/run.yaml{place}"


@pytest.mark.parametrize(("text", "message"), [
    ("a: [1, 2", "this is not valid YAML: expected ',' or ']'"), ("a: 1\n b: 2", "mapping values are not allowed"),
    ("\ta: 1", "not valid YAML"), ("a: \x00", "not valid YAML"), ("a: !!python/object:os.system 1", "not valid YAML"),
    ("a: *nobody", "undefined alias"), ("a: 1\n---\nb: 2", "not valid YAML"), ("? [a, b]\n: 1", "unhashable key"),
    ("a: &x {b: *x}", "'a.b' holds itself"), ("a: &x [1, *x]", "'a.1' holds itself"),
    ("a: " + "[" * 5000, "nested too deeply"), ("a: " + "1" * 5000, "not valid YAML"),
    ("", "the file is empty. See `dtm schema`"), ("# only a comment\n", "the file is empty"),
    ("---\n", "the file is empty"),
    ("- a\n- b", "the top of the file must be keys with values"), ("just words", "the top of the file must be keys"),
])  # fmt: skip
def test_what_is_no_run_file_is_one_message(text, message):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert message in caught.value.message
    assert "\n" not in caught.value.message.strip()


def test_aliases_and_merges_are_kept_and_a_billion_of_them_are_no_work():
    document = parse("base: &x {r: 8, b: 1}\nother:\n  <<: *x\n  r: 16\nsame: *x\n")
    assert document.values == {"base": {"r": 8, "b": 1}, "other": {"r": 16, "b": 1}, "same": {"r": 8, "b": 1}}
    assert document.where("same.r") == "<settings>:5: same.r"
    rows = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    assert len(parse("\n".join(rows)).lines) < 400


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("a: é".encode("latin-1"))
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    for name, kind, message in (
        ("none.yaml", MissingInput, "there is no such file"), (".", ConfigError, "this is a folder, not a run file"),
        ("latin.yaml", ConfigError, "this is not UTF-8 text"), ("loop.yaml", ConfigError, "the file cannot be read"),
    ):  # fmt: skip
        with pytest.raises(kind, match=message):
            load(tmp_path / name)


@pytest.mark.parametrize(("setting", "expected"), [
    ("seed=3", {"seed": 3}), ("train.args.learning_rate=1e-4", {"train": {"args": {"learning_rate": 1e-4, "r": 1}}}),
    ("train.args={a: [1, on]}", {"train": {"args": {"a": [1, "on"]}}}),
    ("data.0.path=b", {"data": [{"path": "b"}, "c"]}),
    ("data.1=d", {"data": [{"path": "a"}, "d"]}), ("merge.weights.0.x=1", {"merge": {"weights": {"0": {"x": 1}}}}),
    ("none.x=1", {"none": {"x": 1}}), ("seed=", {"seed": None}),
    ("name=a=b", {"name": "a=b"}), (" seed = 4", {"seed": 4}),
])  # fmt: skip
def test_assign_puts_a_value_in_its_place(setting, expected):
    before = {"train": {"args": {"r": 1}}, "data": [{"path": "a"}, "c"], "none": None}
    values = {"train": {"args": {"r": 1}}, "data": [{"path": "a"}, "c"], "none": None}
    assign(values, setting)
    assert values == {**before, **expected}


@pytest.mark.parametrize(("setting", "message"), [
    ("seed", "-s: 'seed' is not key=value. For example -s train.args.learning_rate=1e-4."),
    ("=3", "-s: '=3' is not key=value."), ("seed.x=1", "-s seed.x: `seed` is a single value, it holds no `seed.x`."),
    ("data.2=1", "-s data.2: `2` is no place in a list of 2."), ("data.-1=1", "`-1` is no place in a list of 2."),
    ("data.²=1", "`²` is no place in a list of 2."), ("data.x.path=1", "`x` is no place in a list of 2."),
    ("data.1.x=1", "-s data.1.x: `1` is a single value"), ("seed=[1", "-s seed: '[1' is not valid YAML: "),
    ("seed=*x", "is not valid YAML: found undefined alias"),
])  # fmt: skip
def test_what_cannot_be_assigned_is_one_message(setting, message):
    values = {"seed": 0, "data": [{"path": "a"}, "c"]}
    with pytest.raises(ConfigError) as caught:
        assign(values, setting)
    assert message in caught.value.message
    assert values == {"seed": 0, "data": [{"path": "a"}, "c"]}
