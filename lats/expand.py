"""Whether an expansion offered enough different strategies."""

from collections.abc import Sequence

from lats.similarity import tag_similarity

__all__ = ["distinct_tags", "missing_strategies"]


def distinct_tags(tags: Sequence[str], *, similarity: float) -> list[str]:
    """Return the tags that differ from all before them. A blank tag names no strategy.

    Args:
        tags: strategy tags, in order.
        similarity: from which on two tags count as one strategy, in [0, 1].
    """
    distinct: list[str] = []
    for tag in tags:
        if tag and all(tag_similarity(tag, earlier) < similarity for earlier in distinct):
            distinct.append(tag)
    return distinct


def missing_strategies(tags: Sequence[str], *, similarity: float) -> int:
    """Return how many strategies an expansion lacks, 0 when its candidates differ enough.

    Only tags are compared: a copy of a reply under a tag of its own lacks nothing. A
    single candidate has nothing to differ from and lacks nothing either.

    Args:
        tags: strategy tags of the candidates that were offered, at most those asked for.
        similarity: from which on two tags count as one strategy, in [0, 1].
    """
    if len(tags) < 2:
        return 0
    return len(tags) - len(distinct_tags(tags, similarity=similarity))
