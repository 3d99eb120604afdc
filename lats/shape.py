"""The shape of a search by its cap: how many generations, passes and refinements.

    1: one candidate                       4: 2 generations, 2 passes
    2: 1 generation (wide), 1 pass         5: 3 generations, 2 passes
    3: 2 generations, 1 pass               6: 2 generations, 2 passes, refine, pass
    7: 3 generations, then as 6            8: as 6, and refine, pass once more; and so on

Generations travel together, and so do passes: 2 rounds up to 5 calls, and 2 more for each
refinement. Without refinement all that is left goes to passes.
"""

__all__ = [
    "REFINE_CALLS",
    "agreement_generations",
    "first_generations",
    "first_passes",
    "later_passes",
    "root_generations",
]

REFINE_CALLS = 2
"""Calls that a refinement takes at least: one to propose, one to judge."""


def first_generations(cap: int, *, can_refine: bool) -> int:
    """Return how many calls from scratch a search begins with.

    Args:
        cap: calls that it plans for, at least 1.
        can_refine: whether leaders may be improved on later.
    """
    if cap <= 2:
        return 1
    if cap <= 4:
        return 2
    if not can_refine:
        return 3 if cap == 5 or cap >= 7 else 2
    return 2 + cap % 2


def agreement_generations(cap: int) -> int:
    """Return how many calls from scratch a search begins with whose answers can be checked.

    Half of all: a cluster shows among many candidates, and among many checks.
    """
    return max(cap // 2, 1)


def first_passes(calls: int, *, can_refine: bool) -> int:
    """Return how often the judge reads the candidates from scratch.

    Args:
        calls: what is left after the generations, at least 1.
        can_refine: whether leaders may be improved on later.
    """
    if can_refine and calls >= 2 + REFINE_CALLS:
        return 2 + calls % REFINE_CALLS
    return calls


def later_passes(calls: int) -> int:
    """Return how often the judge reads refined candidates, of the calls left, at least 1.

    One pass each, so that more can be refined; the call that no refinement fits into any
    more becomes a second pass.
    """
    return 2 if calls == 2 else 1


def root_generations(cap: int) -> int:
    """Return how many calls from scratch a search by halving begins with."""
    if cap <= 3:
        return 1 if cap <= 2 else 2
    return min(2 + cap // 8, 4)
