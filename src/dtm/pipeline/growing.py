"""Growing: kept portions (`kept.py`) with the rows that are there now, and what became of each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtm.foundations.errors import DataError
from dtm.foundations.registry import Bound
from dtm.foundations.types import Examples
from dtm.pipeline.kept import REPLAYED, UNKNOWN, Kept
from dtm.pipeline.sharing import Sharing, without

if TYPE_CHECKING:
    from dtm.disperse.overlapping import Split


def place(
    kept: Kept, bound: Bound, examples: Examples, k: int, seed: int, signals: Mapping[str, Any],
    new: str, sharing: Sharing, where: Callable[[str], object],
) -> tuple[Split, dict[str, Any]]:  # fmt: skip
    """The rows of each of k portions, and what became of the kept ones: facts for `growing`.

    Raises DataError where k does not fit the portions of which a row is left.
    """
    import numpy as np

    import dtm.disperse
    from dtm.disperse.overlapping import NOWHERE

    before_N = kept.of(examples)
    left = np.unique(before_N[before_N >= 0])
    fresh = k - len(left) if new == "portion" else 0
    _check_left(kept, len(left), k, fresh, new, where)
    aside_N = following(examples, before_N)
    number_K = np.full(kept.k + 2, -1)  # the last two are those of replayed and of new rows
    number_K[left] = np.arange(len(left))
    own_N = np.full(len(examples), NOWHERE)
    rest, _, _, own = without(aside_N, examples, k, seed, signals)
    known = number_K[before_N[~aside_N]]
    own_N[~aside_N] = dtm.disperse.grow(bound, rest, known, seed, own, fresh=fresh)
    split, moved = _shared(kept, examples, own_N, k, seed, signals, number_K, before_N, sharing)
    was, known_N = [*left.tolist(), *[None] * fresh], before_N >= 0
    stayed_K, in_all_K = (np.bincount(one, minlength=k) for one in (own_N[known_N], own_N[~aside_N]))
    before_K = np.bincount(kept.portion_N[kept.portion_N >= 0], minlength=kept.k)
    lineage = [kept.lineage[one] for one in left] + [max(kept.lineage) + 1 + one for one in range(fresh)]
    portions = [
        {"portion": one, "was": None if was[one] is None else kept.numbers[was[one]],
         "kept": int(stayed_K[one]), "joined": int(in_all_K[one] - stayed_K[one]),
         "left": 0 if was[one] is None else int(before_K[was[one]] - stayed_K[one]), **moved[one]}
        for one in range(k)
    ]  # fmt: skip
    gone = [number for one, number in enumerate(kept.numbers) if one not in left]
    facts = {"kept": int(known_N.sum()), "joined": int(in_all_K.sum() - known_N.sum()),
             "left": int(before_K.sum() - known_N.sum()), "gone": gone, "portions": portions}  # fmt: skip
    if len(replayed := np.flatnonzero(kept.portion_N == REPLAYED)):
        stays = int((before_N == REPLAYED).sum())
        facts["replayed"] = {
            "kept": stays,
            "joined": int(aside_N.sum()) - stays,
            "left": len(replayed) - stays,
        }
    return split, {"growing": facts, "lineage": lineage}


def _check_left(kept: Kept, left: int, k: int, fresh: int, new: str, where: Callable[[str], object]) -> None:
    if not left:
        raise DataError("no row of the kept portions is left", where=where("disperse.keep"),
                        mend="Leave disperse.keep out: this is another run")  # fmt: skip
    if new == "join" and left != k:
        raise DataError(f"of {kept.k} kept portions {left} have a row left, and disperse.k is {k}",
                        where=where("disperse.k"), mend=f"Set k to {left}")  # fmt: skip
    if new == "portion" and fresh < 1:
        raise DataError(f"{left} portions are kept, and disperse.k is {k}, so none is left for new rows",
                        where=where("disperse.k"), mend=f"Set k to {left + 1}, or `new: join`")  # fmt: skip


def following(examples: Examples, before_N: Any) -> Any:
    """Which rows are replayed, bool [N]: those that were, and new ones of their families."""
    import numpy as np

    from dtm.disperse.portions import units

    first_F, family_N = units(examples)
    aside_F, own_F = (np.zeros(len(first_F), bool) for _ in range(2))
    aside_F[family_N[before_N == REPLAYED]] = True
    own_F[family_N[before_N >= 0]] = True
    if (aside_F & own_F).any():
        row = int(first_F[np.flatnonzero(aside_F & own_F)[0]])
        raise DataError(
            f"of the family {examples.take([row]).column('family')[0]} some rows are replayed and some are not",
            where="disperse.keep", mend="A row, its repeats and what was made from it belong together",
        )  # fmt: skip
    return aside_F[family_N]


def _shared(
    kept: Kept, examples: Examples, own_N: Any, k: int, seed: int, signals: Mapping[str, Any], number_K: Any,
    before_N: Any, sharing: Sharing,
) -> tuple[Split, list[dict[str, int]]]:  # fmt: skip
    """The kept copies, and more where a portion's rows changed; of each portion, how many joined and left.

    Where nothing is copied, and nothing was, there are no counts.
    """
    import numpy as np

    from dtm.disperse.overlapping import Split

    if not sharing.overlap and not len(kept.copies):
        return Split(own_N, k), [{}] * k
    had = kept.copies_of(examples)
    had = np.column_stack([had[:, 0], number_K[had[:, 1]]])
    had = had[had[:, 1] >= 0]
    is_new = before_N == UNKNOWN
    replayed = int((before_N == REPLAYED).sum())
    replay_changed = replayed != (kept.portion_N == REPLAYED).sum() or replayed != (own_N < 0).sum()
    now_K, before_K = np.bincount(had[:, 1], minlength=k), _by_portion(kept.copies[:, 1], number_K, k)
    stay_K, known_K = np.bincount(own_N[before_N >= 0], minlength=k), _by_portion(kept.portion_N, number_K, k)
    joined_K = np.bincount(own_N[is_new & (own_N >= 0)], minlength=k)
    followed = Sharing().copies(examples, own_N, k, seed, {}, kept=had)
    follow_K = np.bincount(followed[:, 1], minlength=k) - now_K
    changed_K = replay_changed | (now_K != before_K) | (stay_K != known_K) | (joined_K > 0) | (follow_K > 0)
    copies = sharing.copies(examples, own_N, k, seed, signals, kept=had, new_N=is_new, changed_K=changed_K)
    all_K = np.bincount(copies[:, 1], minlength=k)
    moved = [{"copies_joined": int(all_K[one] - now_K[one]), "copies_left": int(before_K[one] - now_K[one])}
             for one in range(k)]  # fmt: skip
    return Split(own_N, k, copies), moved


def _by_portion(portion_N: Any, number_K: Any, k: int) -> Any:
    """How many of the kept rows stood in each portion of which a row is left, int64 [K]."""
    import numpy as np

    number_N = number_K[portion_N[portion_N >= 0]]
    return np.bincount(number_N[number_N >= 0], minlength=k)


def growing(cards: Mapping[str, Any], trained: Mapping[str, bool | None]) -> dict[str, Any] | None:
    """What results.json tells of kept portions; `trained` has, by sub-model, whether it was trained in this run."""
    facts = cards["disperse"].facts.get("growing") if "disperse" in cards else None
    if facts is None:
        return None
    told = {True: "trained", False: "reused", None: None}
    portions = [
        {**one, "submodel": told[trained.get(f"submodel-{one['portion']}")]} for one in facts["portions"]
    ]
    return {**facts, "removed": _removed(cards["load"].folder), "portions": portions}


def _removed(loaded: Path) -> int:
    from dtm.foundations.files import read_json

    return int(read_json(loaded / "card.json")["reasons"].get("removed", 0))


def sentences(found: Mapping[str, Any]) -> list[str]:
    """The same in words."""
    words = [f"Of the kept portions {found['kept']:,} rows stay and {found['left']:,} are gone"]
    if found["removed"]:
        words[0] += f" ({found['removed']:,} rows were removed from the data by id)"
    if found["gone"]:
        words.append(f"no row is left of {_portions(found['gone'])} of the run before")
    if replayed := found.get("replayed"):
        gone = f", {replayed['left']:,} are gone" if replayed["left"] else ""
        words.append(f"{replayed['kept']:,} rows stay in every portion{gone}")
    copies = [
        sum(one.get(name) or 0 for one in found["portions"]) for name in ("copies_joined", "copies_left")
    ]
    if any(copies):
        words.append(f"copies of other portions' rows: {copies[0]:,} more, {copies[1]:,} gone")
    joined = [one["portion"] for one in found["portions"] if one["joined"] and one["was"] is not None]
    formed = [one["portion"] for one in found["portions"] if one["was"] is None]
    if formed:
        words.append(f"{found['joined']:,} new rows form {_portions(formed)}")
    elif joined:
        words.append(f"{found['joined']:,} new rows joined {_portions(joined)}")
    by_state = {
        state: [one["portion"] for one in found["portions"] if one["submodel"] == state]
        for state in ("reused", "trained")
    }
    models = [f"{state}: {_numbers(which)}" for state, which in by_state.items() if which]
    return ["; ".join(words) + ".", *([f"Sub-models {'; '.join(models)}."] if models else [])]


def _portions(numbers: list[int]) -> str:
    return f"portion{'s' if len(numbers) > 1 else ''} {_numbers(numbers)}"


def _numbers(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
