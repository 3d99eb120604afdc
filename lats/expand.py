"""Whether an expansion offered enough different strategies, and which it should add."""

from collections.abc import Sequence

from lats.draft import Draft
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


def missing_strategies(drafts: Sequence[Draft], *, n_offered: int, similarity: float) -> int:
    """Return how many strategies an expansion lacks, 0 when its candidates differ enough.

    Candidates that were dropped as copies lack one each. A single candidate has
    nothing to differ from and lacks none.

    Args:
        drafts: the admitted candidates.
        n_offered: candidates that the proposer gave, at most those that were asked for.
        similarity: from which on two tags count as one strategy, in [0, 1].
    """
    if n_offered < 2:
        return 0
    tags = [draft.strategy_tag for draft in drafts]
    return max(0, n_offered - len(distinct_tags(tags, similarity=similarity)))
