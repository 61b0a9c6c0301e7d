"""Colours that mean the same thing on the whole page.

Base, baselines and the merged model have their own; sub-model i and portion i share one; sources are
paler. Lightness comes from the style sheet, so that both themes have enough contrast.
"""

from __future__ import annotations

NAMED = 8  # sub-models up to this many have hand-picked colours; more walk round the hues


def submodel(index: int, k: int) -> str:
    if k <= NAMED:
        return f"var(--sub{index % NAMED})"
    return f"oklch(var(--line-light) 0.14 {_hue(index, k)})"


def source(index: int, total: int) -> str:
    # a second lightness on every other hue keeps neighbours apart for readers who do not see the hue
    return f"oklch(calc(var(--fill-light) + {0.10 * (index % 2):.2f}) 0.085 {_hue(index, total, start=250)})"


def model(name: str, role: str, submodels: list[str], baselines: list[str]) -> str:
    if role == "submodel":
        return submodel(submodels.index(name), len(submodels))
    if role == "baseline":
        return (
            "var(--baseline)"
            if baselines.index(name) == 0
            else f"oklch(var(--line-light) 0.12 {60 + 25 * baselines.index(name)})"
        )
    return "var(--merged)" if role == "merged" else "var(--base)"


def _hue(index: int, total: int, start: float = 20) -> int:
    return round(start + 360 * index / max(total, 1)) % 360
