"""The shape of a search by its cap."""

import pytest

from lats.schedule import (
    REFINE_CALLS,
    first_generations,
    first_passes,
    later_passes,
    root_generations,
)


@pytest.mark.parametrize("can_refine", [True, False])
@pytest.mark.parametrize("cap", range(1, 33))
def test_a_shape_fits_into_its_cap_and_leaves_a_judge(cap, can_refine):
    """At least one pass from two calls on, and no call to spare."""
    generations = first_generations(cap, can_refine=can_refine)
    assert 1 <= generations <= 3
    if cap > 1:
        left = cap - generations
        assert left >= 1
        passes = first_passes(left, can_refine=can_refine)
        assert 1 <= passes <= left
        if can_refine and left > passes:
            assert (left - passes) % REFINE_CALLS == 0


def test_what_is_left_after_refinements_becomes_passes():
    """One for each refinement, and the call into which none fits."""
    for calls in range(1, 12):
        spent, rest = 0, calls
        while rest:
            passes = later_passes(rest)
            assert 1 <= passes <= rest
            spent += passes
            rest -= passes
            rest -= 1 if rest >= REFINE_CALLS else 0
        assert spent <= calls


def test_a_root_by_halving_grows_with_the_cap():
    """Slowly, and to four calls at most."""
    sizes = [root_generations(cap) for cap in range(1, 65)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 1
    assert max(sizes) == 4
