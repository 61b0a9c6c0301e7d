from __future__ import annotations

from typing import Literal

import pytest

from dtm.foundations.errors import ConfigError, DtmError, MethodError
from dtm.foundations.registry import KINDS, Registry, registry
from dtm.foundations.store import Step


@pytest.fixture
def merge():
    registry = Registry("merge")

    @registry.register("slerp", paper="arXiv:1", version=3, needs=("embedding",), idempotent=True)
    def slerp(
        models,
        weights,
        *,
        t: float,
        mode: Literal["row", "all"] = "all",
        steps: int | None = None,
        embedding=None,
    ):
        """Along the sphere.

        More about it.
        """
        return models, weights, t, mode, steps, embedding

    @registry.register("linear")
    def linear(models, weights): ...

    return registry


def test_a_method_carries_what_is_known_of_it(merge):
    method = merge["slerp"]
    assert (method.kind, method.name, method.paper, method.version, method.needs) == (
        "merge", "slerp", "arXiv:1", 3, ("embedding",),
    )  # fmt: skip
    assert method.properties == {"idempotent": True}
    assert method.title == "Along the sphere."
    assert list(method.settings) == ["t", "mode", "steps"]
    assert sorted(merge) == list(merge) == ["linear", "slerp"]
    assert ("slerp" in merge, "nope" in merge, len(merge)) == (True, False, 2)


def test_a_name_is_registered_once(merge):
    with pytest.raises(MethodError, match="merge method 'linear' is registered twice"):
        merge.register("linear")(lambda models: models)


def test_binding_fills_in_defaults_and_calls_with_them(merge):
    bound = merge.bind("slerp", {"t": 0.5, "steps": 3})
    assert bound.settings == {"t": 0.5, "mode": "all", "steps": 3}
    assert bound("models", "weights", embedding="E") == ("models", "weights", 0.5, "all", 3, "E")
    assert bound.key == {"method": "slerp", "version": 3, "settings": {"mode": "all", "steps": 3, "t": 0.5}}


def test_one_setting_written_two_ways_is_one_key(merge):
    key = Step("merge", merge.bind("slerp", {"t": 1}).key).key
    assert key == Step("merge", merge.bind("slerp", {"t": 1.0, "mode": "all", "steps": None}).key).key
    assert key != Step("merge", merge.bind("slerp", {"t": 1, "steps": 1}).key).key
    assert type(merge.bind("slerp", {"t": 1, "steps": 1}).settings["steps"]) is int


@pytest.mark.parametrize(("settings", "kind", "message"), [
    ({}, MethodError, "merge.t: merge method 'slerp' needs `t`."),
    ({"t": 1, "modus": 2}, MethodError,
     "merge: there is no setting of merge method 'slerp' 'modus'. Did you mean 'mode'?"),
    ({"t": 1, "x": 2}, MethodError, "There is: mode, steps, t."),
    ({"t": "high"}, ConfigError, "merge.t: 'high' is not a finite number."),
    ({"t": float("nan")}, ConfigError, "merge.t: nan is not a finite number."),
    ({"t": True}, ConfigError, "merge.t: True is not a finite number."),
    ({"t": 1, "mode": "rows"}, ConfigError, "merge.mode: 'rows' is not one of 'row', 'all'."),
    ({"t": 1, "steps": 1.5}, ConfigError, "merge.steps: 1.5 is not a whole number or null."),
    ({"t": 1, "embedding": 2}, MethodError, "there is no setting of merge method 'slerp' 'embedding'."),
])  # fmt: skip
def test_a_wrong_setting_is_one_message(merge, settings, kind, message):
    with pytest.raises(DtmError) as caught:
        merge.bind("slerp", settings, where="merge")
    assert type(caught.value) is kind
    assert message in caught.value.message


def test_all_mistakes_are_told_at_once(merge):
    with pytest.raises(DtmError) as caught:
        merge.bind("slerp", {"modus": 1, "mode": "x", "steps": "many"}, where="merge")
    text = caught.value.message
    assert text.startswith("4 things are wrong:\n  1. ")
    for part in ("'modus'", "needs `t`", "'x' is not one of", "'many' is not a whole number or null"):
        assert part in text


@pytest.mark.parametrize("ask", [lambda r: r["slrp"], lambda r: r.bind("slrp", {}, where="merge.method")])
def test_an_unknown_method_suggests_the_nearest(merge, ask):
    with pytest.raises(
        MethodError, match=r"there is no merge method 'slrp'\. Did you mean 'slerp'\?"
    ) as caught:
        ask(merge)
    assert isinstance(caught.value, LookupError)


def test_an_empty_registry_says_so():
    with pytest.raises(MethodError, match="There is: none"):
        Registry("task").bind("x")


def test_there_is_one_registry_a_kind():
    assert all(registry(kind) is registry(kind) and registry(kind).kind == kind for kind in KINDS)
    with pytest.raises(MethodError, match="Did you mean 'disperse'"):
        registry("dispers")
