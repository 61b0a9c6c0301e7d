import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtm.foundations.seeds import derive, derive32

# printf 0 | sha256sum, printf 0/train/3 | sha256sum, printf 42/render | sha256sum: the first 16 digits
KNOWN = {
    (0,): 0x5FECEB66FFC86F38,
    (0, "train", 3): 0xFA15A22EBD717CBF,
    (42, "render"): 0x278313F5660E7E6D,
}


@pytest.mark.parametrize("names", KNOWN)
def test_known_values(names):
    assert derive(*names) == KNOWN[names]
    assert derive32(*names) == KNOWN[names] & 0x7FFFFFFF


@given(st.integers(), st.lists(st.text(max_size=5) | st.integers(), max_size=3))
def test_seeds_fit_their_libraries(root, names):
    assert 0 <= derive(root, *names) < 2**64
    assert 0 <= derive32(root, *names) < 2**31


def test_every_name_and_its_place_counts():
    seeds = [
        derive(0, "train", 0),
        derive(0, "train", 1),
        derive(1, "train", 0),
        derive(0, 0, "train"),
        derive(0),
    ]
    assert len(set(seeds)) == len(seeds)
    assert derive(0, "train", 0) == derive(0, "train", "0")
