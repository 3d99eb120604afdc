"""Whether an expansion offers enough strategies."""

from lats.similarity import distinct_tags, missing_strategies


def _missing(*tags):
    return missing_strategies(tags, similarity=0.6)


def test_different_strategies_lack_nothing():
    """Nor does a single candidate, or none."""
    assert _missing("joke", "comfort") == 0
    assert _missing("joke") == _missing("") == _missing() == 0


def test_alike_and_blank_tags_lack_one_each():
    """The first of a kind counts; a blank tag names no strategy."""
    assert _missing("warm_empathy", "Warm-Empathy") == 1
    assert _missing("", "") == 2
    assert _missing("joke", "", "comfort") == 1


def test_distinct_tags_keep_the_first_of_each():
    """In their order."""
    assert distinct_tags(["a_b", "c_d", "A B", ""], similarity=1.0) == ["a_b", "c_d"]
