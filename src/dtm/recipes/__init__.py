"""Recipes: which verbs, in what order. A recipe knows no implementation; it only calls verbs on `run`."""

from dtm.recipes import (  # noqa: F401 - registers them
    checkpoint_average,
    demorecon,
    disperse_then_merge,
    dual_stage_mixed,
    early_stopping,
    ensemble,
    greedy_soup,
    norm_matched,
    phased_ift,
    self_refine,
    sequential,
    submodel,
    uniform_soup,
    vanilla_sft,
    wise_ft,
)
