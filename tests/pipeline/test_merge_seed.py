"""A random merge draws from the run's own seed."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import load_file

from dtm.pipeline import run
from tests.pipeline.conftest import without, write_run


def test_another_seed_drops_other_values(undisturbed, inputs, tmp_path, monkeypatch):
    """DARE keeps a random share of each update; the sub-models themselves are those of seed 0 in both."""
    import dtm.pipeline.joining as joining

    without(undisturbed, tmp_path, "merge", "evaluate", "heldout")
    path = write_run(inputs, tmp_path)
    monkeypatch.chdir(tmp_path)
    merged = []
    for seed in (0, 1):
        monkeypatch.setattr(
            joining,
            "derive",
            lambda root, *names, seed=seed: seed if names == ("merge",) else _derive(root, *names),
        )
        settings = [
            "merge.method=dare_linear",
            "merge.density=0.5",
            "evaluate.tasks=[]",
            "evaluate.heldout=false",
        ]
        run(path, settings, quiet=True)
        merged.append(load_file(tmp_path / "run" / "merged" / "model.safetensors"))
    name = next(name for name in merged[0] if "up_proj" in name)
    assert not np.array_equal(merged[0][name], merged[1][name])


def _derive(root, *names):
    from dtm.foundations.seeds import derive

    return derive(root, *names)
