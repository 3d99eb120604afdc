"""UCT: how much a child deserves the next visit."""

import math

__all__ = ["uct_score"]


def uct_score(mean_value: float, visits: int, parent_visits: int, *, exploration: float) -> float:
    """Return how much a child deserves the next visit.

    Source: LATS (arXiv 2310.04406), the UCT of its selection step.
    We depart from it in one place: an unvisited child scores infinity.

    Args:
        mean_value: mean of all values backed up through the child, in [0, 1]. Not a sum.
        visits: how many those are; 0 when it was never judged, nor anything below it.
        parent_visits: the same of its parent; at least `visits`.
        exploration: weight of the second term; 0 is greedy.

    Returns:
        A figure to compare between siblings only. Unitless.
    """
    if visits == 0:
        return math.inf
    return mean_value + exploration * math.sqrt(math.log(max(parent_visits, 1)) / visits)
