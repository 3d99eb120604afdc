"""Reading orders: seeded, and each followed by its reverse."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lats.schedule import reading_order

IDS = [f"{place:016x}" for place in range(7)]


@given(ids=st.lists(st.sampled_from(IDS), unique=True), seed=st.integers(0), pair=st.integers(0, 9))
def test_a_pair_of_passes_reads_everyone_at_the_same_mean_place(ids, seed, pair):
    """One order and its reverse."""
    first = reading_order(ids, seed=seed, pass_index=2 * pair)
    second = reading_order(ids, seed=seed, pass_index=2 * pair + 1)
    assert second == first[::-1]
    assert sorted(first) == sorted(ids)
    assert {first.index(i) + second.index(i) for i in ids} <= {len(ids) - 1}


def test_an_order_depends_on_seed_and_pass_and_not_on_how_it_is_asked():
    """Other passes, and other seeds, draw anew."""
    order = reading_order(IDS, seed=1, pass_index=0)
    assert reading_order(IDS[::-1], seed=1, pass_index=0) == order
    assert len({reading_order(IDS, seed=1, pass_index=look) for look in range(8)}) == 8
    assert reading_order(IDS, seed=2, pass_index=0) != order


def test_a_subset_keeps_the_order_of_the_whole():
    """So a pass over survivors is still reversed by the next one."""
    order = reading_order(IDS, seed=3, pass_index=4)
    kept = IDS[1:5]
    assert reading_order(kept, seed=3, pass_index=4) == tuple(i for i in order if i in kept)


def test_nobody_is_favoured_over_many_pairs():
    """Each is read first about as often."""
    firsts = Counter(reading_order(IDS, seed=0, pass_index=2 * pair)[0] for pair in range(700))
    assert all(60 < firsts[i] < 140 for i in IDS)
