"""Recipes: which verbs, in what order. A recipe knows no implementation; it only calls verbs on `run`."""

from dtm.recipes import disperse_then_merge, vanilla_sft  # noqa: F401 - registers them
