"""How far the splits of the arms agree, seed by seed: arms that part the data alike can differ in little else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from dtm.pipeline.agreeing import compared
from dtm.pipeline.kept import ASSIGNMENT, Kept, read_kept
from dtm.report import palette
from dtm.report.split import cosine
from dtm.report.wording import plural
from dtm.study.running import Outcome

MEASURES = ("adjusted_rand", "mutual_information")
NUMBERED = 12  # splits up to which the matrix has room for numbers


def splits(outcomes: Sequence[Outcome]) -> dict[str, Any] | None:
    """`splits`, one row for arms whose rows were parted the same under every seed that they share, and `pairs` of
    them with means over seeds; None where fewer than two splits differ.
    """
    files: dict[str, dict[int, Path]] = {}
    for one in outcomes:
        path = one.folder / ASSIGNMENT
        if (one.results or {}).get("portions") and path.exists():
            files.setdefault(one.trial.arm.name, {})[one.trial.seed] = path
    groups = _groups(files)
    if len(groups) < 2:
        return None
    read: dict[Path, Kept] = {}
    rows = []
    for first, second in combinations([names[0] for names in groups], 2):
        seeds = [seed for seed in files[first] if seed in files[second]]
        found = [compared(*(_read(files[name][seed], read) for name in (first, second))) for seed in seeds]
        found = [pair for pair in found if pair["rows"]]
        if found:
            means = {name: math.fsum(pair[name] for pair in found) / len(found) for name in MEASURES}
            rows.append({"a": first, "b": second, "seeds": seeds, "rows": found[0]["rows"], **means})
    told = [{"name": names[0], "arms": names, "portions": _k(files[names[0]], read)} for names in groups]
    return {"splits": told, "pairs": rows}


def matrix(results: Any) -> dict[str, Any] | None:
    """For the page: a row a split with a cell for each, coloured by the adjusted Rand index."""
    found = results.get("splits")
    if not found:
        return None
    names = [one["name"] for one in found["splits"]]
    pairs = {(one["a"], one["b"]): one for one in found["pairs"]}
    rows = [{"colour": palette.submodel(i, len(names)), "name": name, "arms": found["splits"][i]["arms"],
             "portions": found["splits"][i]["portions"],
             "cells": [_cell(name, other, pairs.get((name, other)) or pairs.get((other, name))) for other in names]}
            for i, name in enumerate(names)]  # fmt: skip
    return {"rows": rows, "numbered": len(names) <= NUMBERED}


def _cell(one: str, other: str, pair: dict[str, Any] | None) -> dict[str, Any]:
    if pair is None:
        return {
            "text": "",
            "title": "itself" if one == other else "no row in common",
            "level": 0,
            "sign": "plus",
        }
    value, over = pair["adjusted_rand"], f"{pair['rows']:,} rows, {plural(len(pair['seeds']), 'seed')}"
    title = (f"{one} and {other}: adjusted Rand index {cosine(value)}, normalised mutual information "
             f"{cosine(pair['mutual_information'])}, {over}")  # fmt: skip
    return {"text": cosine(value), "title": title, "level": round(100 * min(abs(value), 1)),
            "sign": "plus" if value >= 0 else "minus"}  # fmt: skip


def _groups(files: dict[str, dict[int, Path]]) -> list[list[str]]:
    """Arms whose files are the same under all seeds that they share: the store gives them one file, or one content."""
    groups: list[list[str]] = []
    for name, by_seed in files.items():
        for group in groups:
            others = files[group[0]]
            shared = by_seed.keys() & others.keys()
            if shared and all(_same(by_seed[seed], others[seed]) for seed in shared):
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


def _same(one: Path, other: Path) -> bool:
    return one.samefile(other) or one.read_bytes() == other.read_bytes()


def _read(path: Path, read: dict[Path, Kept]) -> Kept:
    if path not in read:
        read[path] = read_kept(path)
    return read[path]


def _k(by_seed: dict[int, Path], read: dict[Path, Kept]) -> int:
    """How many portions there are under the first seed: with `k: auto` others may have other numbers."""
    return _read(next(iter(by_seed.values())), read).k
