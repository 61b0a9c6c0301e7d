"""What a run needs of the disk at its worst moment."""

from __future__ import annotations

import pytest

from dtm.pipeline.estimates import peak_disk


@pytest.mark.parametrize(("workers", "peak"), [(1, 4 * 10 + 70), (2, 4 * 10 + 130), (9, 4 * 10 + 240)])
def test_only_sub_models_at_work_have_checkpoints(workers, peak):
    needs = [{"disk": 10, "scratch": scratch} for scratch in (50, 60, 70, 60)]
    assert peak_disk([*needs, {}], workers) == peak
