"""The Game of 24 as a task of one's own: make 24 of four numbers with + - * and /.

A step puts one number in the place of two; three steps make an answer. The proposer lists
steps, the verifier finds out whether 24 can still be reached. Neither is a model; put a call to one
in the place of the proposer, and a judge in that of a verifier where none is to be had.
"""

import asyncio
from fractions import Fraction
from itertools import combinations

from lats import Problem, Solution, render_tree, solve

__all__ = ["play"]

State = tuple[tuple[Fraction, ...], tuple[str, ...]]
"""The numbers that are left, and the steps so far."""


def next_states(state: State) -> list[State]:
    """Return every state that one step leads to, those with the same numbers once."""
    numbers, steps = state
    found: dict[tuple[Fraction, ...], State] = {}
    for pair in combinations(range(len(numbers)), 2):
        rest = [number for place, number in enumerate(numbers) if place not in pair]
        small, large = sorted(numbers[place] for place in pair)
        results = {f"{large} + {small}": large + small, f"{large} * {small}": large * small}
        results |= {f"{a} - {b}": a - b for a, b in ((large, small), (small, large))}
        results |= {f"({a}) / ({b})": a / b for a, b in ((large, small), (small, large)) if b}
        for step, result in results.items():
            left = tuple(sorted([*rest, result]))
            found.setdefault(left, (left, (*steps, f"{step} = {result}")))
    return list(found.values())


def can_reach_24(state: State) -> bool:
    """Return whether some steps lead to 24 and nothing else."""
    return state[0] == (Fraction(24),) or any(map(can_reach_24, next_states(state)))


async def play(*numbers: int) -> Solution[State]:
    """Return what a search of at most 12 calls makes of some numbers."""
    problem = Problem[State](
        State,
        propose=lambda state, k, _context: next_states(state)[:k] if state else [],
        verify=can_reach_24,
        is_answer=lambda state: len(state[0]) == 1,
        text=lambda state: "; ".join(state[1]) or "start",
        start=(tuple(map(Fraction, numbers)), ()),
    )
    return await solve(
        problem, policy="posterior_uct", max_calls=12, max_depth=3, generate_k=32, refine_k=18
    )


if __name__ == "__main__":
    solution = asyncio.run(play(1, 5, 5, 5))
    print("; ".join(solution.best[1]) if solution.best and solution.is_answer else "none found")
    print(render_tree(solution.result))
