"""UCT."""

import math

from hypothesis import given
from hypothesis import strategies as st

from lats.classic_state import uct_score


def test_it_is_the_papers_formula():
    """Mean plus weight times the root of log parent visits over visits."""
    expected = 0.5 + 2 * math.sqrt(math.log(8) / 3)
    assert uct_score(0.5, 3, 8, exploration=2) == expected


def test_an_unvisited_child_comes_first():
    """Whatever its siblings have."""
    assert uct_score(0, 0, 5, exploration=0) == math.inf


@given(st.floats(0, 1), st.integers(1, 50), st.integers(0, 50), st.floats(0, 10))
def test_fewer_visits_deserve_more(mean, visits, more, exploration):
    """At equal means, the bonus never grows with visits."""
    parent = visits + more + 1
    fewer = uct_score(mean, visits, parent, exploration=exploration)
    assert fewer >= uct_score(mean, visits + 1, parent, exploration=exploration)
    assert uct_score(mean, visits, parent, exploration=0) == mean
