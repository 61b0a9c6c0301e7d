"""Which rows of a source are taken, and how often: `fraction`, `limit` and `weight`.

A row's rank is a hash of its id under a seed. So the choice depends on neither the order of rows
and files nor on other sources, and a larger fraction or limit holds all rows of a smaller one.
"""

from __future__ import annotations

import hashlib
import math

import pyarrow as pa

from dtm.foundations import seeds
from dtm.foundations.types import SCHEMA


def chosen(table: pa.Table, seed: int, source: str, *, fraction: float, limit: int | None) -> pa.Table:
    """The rows to keep, in their order: `fraction` of them, then at most `limit`.

    Half a row is rounded up, and a fraction of some rows is at least one row.
    """
    count = max(1, math.floor(fraction * len(table) + 0.5))
    return _lowest(table, seeds.derive(seed, "data", source), count if limit is None else min(count, limit))


def repeats(table: pa.Table, seed: int, source: str, *, weight: float) -> list[pa.Table]:
    """The further copies that make up a weight of at least 1: for 2.5, one whole and one of half the rows."""
    whole, count = int(weight), math.floor((weight - int(weight)) * len(table) + 0.5)
    copies = [_copy(table, number) for number in range(1, whole)]
    if count:
        part = _lowest(table, seeds.derive(seed, "data", source, "weight"), count)
        copies.append(_copy(part, whole))
    return copies


def _lowest(table: pa.Table, seed: int, count: int) -> pa.Table:
    """The `count` rows of lowest rank, in their order."""
    import numpy as np

    if count >= len(table):
        return table
    key = seed.to_bytes(8, "big")
    ranks = np.fromiter(
        (int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8, key=key).digest(), "big")
         for batch in table.column("id").chunks for identity in batch.to_pylist()), "uint64", len(table),
    )  # fmt: skip
    mask = np.zeros(len(table), dtype=bool)
    mask[np.argsort(ranks, kind="stable")[:count]] = True
    return table.filter(pa.array(mask))


def _copy(table: pa.Table, number: int) -> pa.Table:
    """The same rows as their repeat of that number: `#number` behind the id, the family as it was."""
    import pyarrow.compute as pc

    ids = pc.binary_join_element_wise(table.column("id"), f"#{number}", "")
    return table.set_column(table.schema.get_field_index("id"), SCHEMA.field("id"), ids)
