from types import SimpleNamespace

import pytest

from dtm.testbed.mixture import write_mixture
from dtm.testbed.plan import plan_mixture
from dtm.testbed.sources.drafting import Ground
from dtm.testbed.split import split_facts
from dtm.testbed.world import load_world


@pytest.fixture(scope="session")
def world():
    return load_world()


@pytest.fixture(scope="session")
def split(world):
    return split_facts(world, 0)


@pytest.fixture(scope="session")
def facts(world):
    return {fact.id: fact for fact in world.facts}


@pytest.fixture(scope="session")
def write(world, split):
    """Mixtures by their settings: `write(rows, bias=..., settings=...)` -> rows by source."""

    def mixture(rows, seed=0, **options):
        return write_mixture(Ground(world, split.taught, seed), plan_mixture(rows, **options), seed)

    return mixture


@pytest.fixture(scope="session")
def mixtures(write):
    """The same 2,500 rows without habits and with all of them."""
    return SimpleNamespace(clean=write(2500, bias=0), biased=write(2500, bias=1))
