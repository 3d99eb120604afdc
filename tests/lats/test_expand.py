"""Whether an expansion offers enough strategies."""

from lats.draft import Draft
from lats.expand import distinct_tags, missing_strategies


def _missing(*tags, n_offered=None):
    drafts = [Draft(reply=str(place), strategy_tag=tag) for place, tag in enumerate(tags)]
    offered = len(tags) if n_offered is None else n_offered
    return missing_strategies(drafts, n_offered=offered, similarity=0.6)


def test_different_strategies_lack_nothing():
    """Nor does a single candidate, or none."""
    assert _missing("joke", "comfort") == 0
    assert _missing("joke") == _missing("") == _missing() == 0


def test_alike_and_blank_tags_lack_one_each():
    """The first of a kind counts."""
    assert _missing("warm_empathy", "Warm-Empathy") == 1
    assert _missing("", "") == 2
    assert _missing("joke", "", "comfort") == 1


def test_candidates_dropped_as_copies_are_lacking():
    """Two were offered, one was new."""
    assert _missing("joke", n_offered=2) == 1


def test_distinct_tags_keep_the_first_of_each():
    """In their order."""
    assert distinct_tags(["a_b", "c_d", "A B", ""], similarity=1.0) == ["a_b", "c_d"]
