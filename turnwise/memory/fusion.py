"""One ranking out of several, by rank alone."""

from collections.abc import Sequence

__all__ = ["reciprocal_rank_fusion"]

DAMPING = 60
"""How much the first ranks outweigh the next; 60 is the paper's value."""


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[int]], *, damping: float = DAMPING
) -> dict[int, float]:
    """Return each document's fused score; more is better.

    Scores of different rankings need no common scale. A document that a ranking
    leaves out gets nothing from it.

    Source: Cormack, Clarke and Buettcher 2009, Reciprocal rank fusion outperforms
    Condorcet and individual rank learning methods.

    Args:
        rankings: documents, best first, each at most once a ranking.
        damping: added to each rank, which starts at 1; at least 0.
    """
    fused: dict[int, float] = {}
    for ranking in rankings:
        for rank, document in enumerate(ranking, start=1):
            fused[document] = fused.get(document, 0.0) + 1 / (damping + rank)
    return fused
