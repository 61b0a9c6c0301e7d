"""What a merge method is to the engine: a pure function that names what it wants.

A method's positional arguments are filled in by name, as pytest fills in fixtures:

    models_K      [K, block] fp32   the sub-models' weights
    updates_K     [K, block] fp32   the sub-models less the base, exact for adapters; the method then returns
                                    the merged update, and the engine adds the base
    base          [block] fp32      the base's weights; None where the merge has no base
    weights_K     [K] fp64          one weight a sub-model, for this tensor
    state         tuple             what its passes found, one entry a pass
    statistics_K  [K, ...] fp32     the statistic that it `needs`, one a sub-model
    random        Random            numbers that depend on seed, model, tensor and index alone
    place         Place             the tensor's name and the block's first index in it
    depth         float in [0, 1]   where the tensor's layer stands
    algebra       Algebra           decompositions of whole matrices, on the device of the merge (see `algebra`)
    inner         function          modifiers only: the wrapped method, updates_K -> merged update

Its keyword-only arguments are its settings, and their annotations say what they may be; one annotated `Scalar` may
be given per tensor, one annotated `ScalarK` per tensor and model (see `notation`). Declared properties:

    form      "blocks" | "factors" | "modifier"
    unit      "element": a block is [n] | "row": whole rows [r, c] | "tensor": the tensor in its own shape
    scope     "tensor" | "model": what the passes gather over, or the name of the setting that says so
    passes    Pass(scan, settle), ...: each reads everything once before `combine`
    matrices  True: tensors that are not 2-D fall back to linear, and the card says so
    base      True: the method has no meaning without a base (implied by `updates_K`)
    models    how many sub-models it takes at least and at most
    coefficients  a function (weights_K, state, *, settings) -> [K] fp64: the method is `weighted_sum` with these,
              of models_K or updates_K, and the engine may do it in one go
    approximates  True: factors that are not the exact sum's; how far they are from it is told in the card
    idempotent, symmetric: merging K equal models gives that model; their order does not matter
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from dtm.foundations.registry import Bound, registry

merger = registry("merge")


@dataclass(frozen=True)
class Place:
    """Where a block stands: its tensor, and its first value's index in the flattened tensor."""

    tensor: str
    start: int


@dataclass(frozen=True)
class Pass:
    """One reading of all models before the merge.

    `scan` takes what a method takes and returns a dict of partial results; the engine adds those of all blocks
    in block order (arrays and numbers sum, lists join). One that names `total` may add to that dict instead.
    `settle` makes of `total`, and of `weights_K` and `state`, what later passes and the method see.
    """

    scan: Callable[..., dict[str, Any] | None]
    settle: Callable[..., Any] | None = None


@dataclass(frozen=True)
class Treatment:
    """A bound method as the engine sees it."""

    bound: Bound
    inner: Treatment | None = None  # what a modifier wraps

    @property
    def name(self) -> str:
        return self.bound.method.name

    def declares(self, name: str, default: Any = None) -> Any:
        return self.bound.method.properties.get(name, default)

    @property
    def form(self) -> str:
        return self.declares("form", "blocks")

    @property
    def streams_inner(self) -> bool:
        """Whether the wrapped method's passes run over the models as they are."""
        return self.inner is not None and self.declares("unit") is None

    @property
    def unit(self) -> str:
        return self.inner.unit if self.streams_inner else self.declares("unit", "element")  # type: ignore[union-attr]

    @property
    def scope(self) -> str:
        if self.streams_inner:
            return self.inner.scope  # type: ignore[union-attr]
        scope = self.declares("scope", "tensor")
        return self.bound.settings.get(scope, scope)

    @cached_property
    def passes(self) -> tuple[Pass, ...]:
        """The readings before the merge; a method may declare a function of its settings."""
        if self.streams_inner:
            return self.inner.passes  # type: ignore[union-attr]
        passes = self.declares("passes", ())
        return passes(**self.bound.settings) if callable(passes) else passes

    @property
    def matrices(self) -> bool:
        own = bool(self.declares("matrices", False))
        return own or (self.streams_inner and self.inner.matrices)  # type: ignore[union-attr]

    @cached_property
    def on_updates(self) -> bool:
        return "updates_K" in wants(self.bound.method.function)

    @property
    def decomposes(self) -> bool:
        """Whether it asks for decompositions, which a GPU does faster."""
        own = "algebra" in wants(self.bound.method.function)
        return own or (self.inner is not None and self.inner.decomposes)

    @property
    def needs_base(self) -> bool:
        return self.on_updates or bool(self.declares("base", False))

    @property
    def needs(self) -> str | None:
        """The one statistic that it needs, such as "fisher"."""
        found = self.bound.method.needs or (self.inner.bound.method.needs if self.inner else ())
        return found[0] if found else None

    @property
    def idempotent(self) -> bool:
        """Whether K equal models give that model under these settings (a property may name a setting)."""
        value = self.declares("idempotent", False)
        return bool(self.bound.settings.get(value)) if isinstance(value, str) else bool(value)


@lru_cache(maxsize=256)
def wants(function: Callable) -> tuple[str, ...]:
    """The names of a function's positional arguments."""
    return tuple(
        p.name for p in inspect.signature(function).parameters.values() if p.kind is not p.KEYWORD_ONLY
    )


@lru_cache(maxsize=256)
def reads(function: Callable) -> tuple[str, ...]:
    """The names of a function's settings."""
    return tuple(p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY)


def call(function: Callable, given: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    """Call a method, scan or settle with what it names; `given` and `settings` are everything themselves."""
    everything = {"given": given, "settings": settings}
    arguments = [everything[name] if name in everything else given[name] for name in wants(function)]
    return function(*arguments, **{name: settings[name] for name in reads(function)})
