"""An array over rows that is the same for all rows of a group, held as one row a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Grouped:
    """Row n of [N, D] is `values_SD[groups_N[n]]`; groups are counted from 0."""

    groups_N: np.ndarray
    values_SD: np.ndarray

    def __len__(self) -> int:
        return len(self.groups_N)

    def __getitem__(self, rows: Any) -> Grouped:
        """Of these rows (indices or a mask), with all groups kept."""
        return Grouped(self.groups_N[rows], self.values_SD)
