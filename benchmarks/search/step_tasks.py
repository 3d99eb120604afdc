"""Tasks of steps, made from a seed: a wide start, Countdown, and the Game of 24.

No record and no model: the rules of a game give all next states of a state, and a judge's score
follows from the rules and a seeded noise. So every policy can go on from every state, a request
never is a miss, and any number of puzzles can be drawn.

The proposer is as a language model: a request names `k` next states in a seeded order that
the judge's opinion has no part in, the next request from the same state names the next
ones, and after the last it begins again. The judge reads any number of states in a request. Its
score of an answer is exact; of other states it is what the game says.

* `WideStart`: of 30 first steps one leads on; below, two of eight; three steps make an answer.
  The judge is exact, or has a noise of `WIDE_NOISE_SD`.
* `Countdown`: reach a number of 100 to 999 from six, each used once at most. The judge's score
  of an unfinished state is how near the nearest number comes that two more steps reach, with a
  noise of `NOISE_SD`. States with equal numbers left are one.
* `TwentyFour`: make 24 of four numbers. Exact judge.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import combinations
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from benchmarks.search.pools import OVERALL, Half, Item, Pool, PoolPrompt, lots
from lats.answers import Verdict

__all__ = [
    "NOISE_SD",
    "WIDE_NOISE_SD",
    "Countdown",
    "Game",
    "StepPrompt",
    "StepTask",
    "TwentyFour",
    "WideStart",
]

PUZZLES, TUNING = 300, 100
"""Puzzles of a task, and how many of them are for tuning."""

HALF_AT = 10
"""Distance from the target at which a Countdown state scores half; the game's own scale, where
an answer further off scores nothing."""

NOISE_SD = 0.1
"""Standard deviation of the noise in a score of an unfinished Countdown state, in score."""

WIDE_NOISE_SD = 0.3
"""The same of `WideStart` where its judge is not exact; 0 and 1 are what it judges."""


class State(NamedTuple):
    """A state of a game.

    Args:
        key: what the game goes on from; states of equal key have the same next ones.
        steps: from the start, as text.
    """

    key: Any
    steps: tuple[str, ...] = ()


class Game(ABC):
    """The rules of one puzzle."""

    @property
    @abstractmethod
    def start(self) -> Any:
        """Key of the start."""

    @abstractmethod
    def next_keys(self, key: Any) -> list[tuple[str, Any]]:
        """Return the steps that may follow, each with the key that it leads to."""

    @abstractmethod
    def is_solved(self, key: Any) -> bool:
        """Return whether a state is a right answer."""

    def is_answer(self, key: Any) -> bool:
        """Return whether a state is an answer, right or wrong."""
        return self.is_solved(key) or not self.next_keys(key)

    @abstractmethod
    def score(self, key: Any, noise: float) -> float:
        """Return the judge's score of an unfinished state, in [0, 1].

        `noise` is a draw of a standard normal.
        """


class WideStart(Game):
    """Steps by number, of which few lead on.

    Args:
        seed: decides which ones lead on.
        widths: steps at each depth.
        leading: how many of them lead on.
        noise_sd: standard deviation of the judge's noise, in score.
    """

    def __init__(
        self,
        seed: int,
        *,
        widths: Sequence[int] = (30, 8, 8),
        leading: Sequence[int] = (1, 2, 2),
        noise_sd: float = 0.0,
    ) -> None:
        self._widths = tuple(widths)
        self._noise_sd = noise_sd
        draw = lots("wide start", seed)
        self._leading = [
            frozenset(draw.permutation(width)[:count].tolist())
            for width, count in zip(widths, leading, strict=True)
        ]

    @property
    def start(self) -> tuple[int, ...]:
        """No move."""
        return ()

    def next_keys(self, key: tuple[int, ...]) -> list[tuple[str, tuple[int, ...]]]:
        """Return every next move, until the last depth."""
        if len(key) == len(self._widths):
            return []
        return [(f"move {move}", (*key, move)) for move in range(self._widths[len(key)])]

    def is_solved(self, key: tuple[int, ...]) -> bool:
        """Return whether all steps are made, and all lead on."""
        return len(key) == len(self._widths) and self._leads_on(key)

    def _leads_on(self, key: tuple[int, ...]) -> bool:
        return all(move in good for move, good in zip(key, self._leading, strict=False))

    def score(self, key: tuple[int, ...], noise: float) -> float:
        """Return 1 where all steps so far lead on, else 0, with noise."""
        return min(max(self._leads_on(key) + self._noise_sd * noise, 0.0), 1.0)


Numbers = tuple[int, ...]


class Arithmetic(Game):
    """Put one number in the place of two, by + - * and division without remainder.

    Args:
        numbers: that may be used once each.
        target: to reach.
    """

    def __init__(self, numbers: Sequence[int], target: int) -> None:
        self.numbers, self.target = tuple(sorted(numbers)), target

    @property
    def start(self) -> Numbers:
        """The numbers."""
        return self.numbers

    def next_keys(self, key: Numbers) -> list[tuple[str, Numbers]]:
        """Return the steps that leave other numbers than the steps before them."""
        return _steps_from(key)


@cache
def _steps_from(key: Numbers) -> list[tuple[str, Numbers]]:
    found: dict[Numbers, str] = {}
    for one, other in combinations(range(len(key)), 2):
        rest = [number for place, number in enumerate(key) if place not in {one, other}]
        for text, result in _results(key[one], key[other]):
            found.setdefault(tuple(sorted([*rest, result])), text)
    return [(text, left) for left, text in found.items()]


def _results(small: int, large: int) -> list[tuple[str, int]]:
    """Return what two numbers of at least 1, in this order, make; no result below 1."""
    found = [(f"{large} + {small}", large + small), (f"{large} * {small}", large * small)]
    if large > small:
        found.append((f"{large} - {small}", large - small))
    if not large % small:
        found.append((f"{large} / {small}", large // small))
    return [(f"{text} = {result}", result) for text, result in found]


class Countdown(Arithmetic):
    """Six numbers, two of them large, and a target that some of their steps reach.

    Args:
        seed: of the puzzle.
        foresight: steps that the judge reads ahead.
    """

    def __init__(self, seed: int, foresight: int = 2) -> None:
        self._foresight = foresight
        draw = lots("countdown", seed)
        large = draw.choice([25, 50, 75, 100], 2, replace=False).tolist()
        numbers = [*large, *draw.integers(1, 11, 4).tolist()]
        target = 0
        while not 100 <= target <= 999:
            key = tuple(sorted(numbers))
            for _ in range(int(draw.integers(3, 6))):
                following = self.next_keys(key)
                key = following[int(draw.integers(len(following)))][1]
            target = int(draw.choice(key))
        super().__init__(numbers, target)

    def is_solved(self, key: Numbers) -> bool:
        """Return whether the target is among the numbers."""
        return self.target in key

    def score(self, key: Numbers, noise: float) -> float:
        """Return how near some further steps come to the target, with noise; below 1."""
        near = _distance(key, self.target, self._foresight)
        return min(max(1 / (1 + near / HALF_AT) + NOISE_SD * noise, 0.0), 0.99)


@cache
def _distance(key: Numbers, target: int, steps: int) -> int:
    """Return how near the nearest number comes to a target that so many steps may reach."""
    near = min(abs(number - target) for number in key)
    if not steps:
        return near
    if steps == 1:
        for one, other in combinations(key, 2):
            near = min(near, *(abs(made - target) for _, made in _results(one, other)))
        return near
    return min([near, *(_distance(left, target, steps - 1) for _, left in _steps_from(key))])


class TwentyFour(Arithmetic):
    """Four numbers of 1 to 13 that make 24.

    Args:
        seed: of the puzzle.
    """

    def __init__(self, seed: int) -> None:
        draw = lots("twenty-four", seed)
        numbers: Numbers = ()
        while not numbers or not _makes_24(numbers):
            numbers = tuple(sorted(draw.integers(1, 14, 4).tolist()))
        super().__init__(numbers, 24)

    def is_solved(self, key: Numbers) -> bool:
        """Return whether 24 is all that is left."""
        return key == (24,)

    def score(self, key: Numbers, noise: float) -> float:
        """Return whether 24 can still be made."""
        del noise
        return float(_makes_24(key))


@cache
def _makes_24(key: Numbers) -> bool:
    if len(key) == 1:
        return key == (24,)
    return any(_makes_24(left) for _, left in _steps_from(key))


class StepPrompt(PoolPrompt):
    """One puzzle.

    Args:
        prompt_id: of the puzzle.
        seed: of the proposer's order and of the judge's noise.
        game: its rules.
    """

    def __init__(self, prompt_id: str, seed: int, game: Game) -> None:
        super().__init__(prompt_id, seed=seed, start=Item("start", "start", is_step=True))
        self._game = game
        self._states: dict[str, State] = {"start": State(game.start)}
        self._given: dict[str, int] = {}
        self._readings: dict[str, int] = {}

    def generate(self, k: int) -> list[Item]:
        """Return the next first steps, at most `k`."""
        return self._next("start", k)

    def expand(self, item: Item, k: int) -> list[Item]:
        """Return the next steps from a state, at most `k`."""
        self.expansions += 1
        return self._next(item.item_id, k)

    def _next(self, item_id: str, k: int) -> list[Item]:
        self.check_open(k)
        state = self._states[item_id]
        following = self._game.next_keys(state.key)
        given = self._given.get(item_id, 0)
        order = lots(self.prompt_id, self.seed, "steps", item_id).permutation(len(following))
        chosen = [order[place % len(order)] for place in range(given, given + min(k, len(order)))]
        self._given[item_id] = given + len(chosen)
        return [self._item(item_id, state, *following[place]) for place in chosen]

    def _item(self, parent: str, before: State, step: str, key: Any) -> Item:
        after = State(key, (*before.steps, step))
        text = "; ".join(after.steps)
        self._states[text] = after
        is_step = not self._game.is_answer(key)
        return Item(text, text, parent=parent, is_step=is_step, key=f"{key}")

    def judge(self, items: Sequence[Item], rubric: str = OVERALL) -> list[Verdict | None]:
        """Return a score of each state.

        Raises:
            ValueError: when there is no such rubric.
        """
        self.check_open()
        if rubric != OVERALL:
            raise ValueError(f"there is no rubric {rubric!r}; there is: {OVERALL}")
        return [self._verdict(item.item_id) for item in items]

    def _verdict(self, item_id: str) -> Verdict:
        key = self._states[item_id].key
        if self._game.is_solved(key):
            return Verdict(score=1.0)
        if self._game.is_answer(key):
            return Verdict(score=0.0)
        look = self._readings[item_id] = self._readings.get(item_id, 0) + 1
        noise = float(lots(self.prompt_id, self.seed, "noise", item_id, str(look)).normal())
        return Verdict(score=self._game.score(key, noise))

    def _truth_of(self, item: Item) -> float:
        return float(self._game.is_solved(self._states[item.item_id].key))

    def random_truth(self) -> float:
        """Return the share of 100 walks by lot that end in a right answer."""
        draw = lots(self.prompt_id, self.seed, "walks")
        return float(np.mean([self._walk(draw) for _ in range(100)]))

    def _walk(self, draw: np.random.Generator) -> bool:
        key = self._game.start
        while not self._game.is_answer(key):
            following = self._game.next_keys(key)
            key = following[int(draw.integers(len(following)))][1]
        return self._game.is_solved(key)

    def oracle_truth(self) -> float:
        """Return 1: every puzzle can be solved."""
        return 1.0


class StepTask(Pool):
    """Puzzles of one game: 0 to 99 for tuning, 100 to 299 for reporting.

    Args:
        name: for a table.
        game: seed -> the rules of a puzzle.
        max_depth: steps to an answer; None where it is not always as many.
        knobs: further ones that follow from the task.
    """

    def __init__(
        self,
        name: str,
        game: Callable[[int], Game],
        *,
        max_depth: int | None,
        knobs: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(
            name=name,
            description="puzzles made from a seed, solved or not",
            cost_model="A request names up to `k` next states, or scores any number of states.",
            prompt_ids=[f"{place:03d}" for place in range(PUZZLES)],
            task_knobs={"max_depth": max_depth, **knobs},
        )
        self._game = game

    def half(self, half: Half) -> tuple[str, ...]:
        """Return the puzzles of one half: the first 100 are for tuning."""
        return self.prompt_ids[:TUNING] if half == "tuning" else self.prompt_ids[TUNING:]

    def prompt(self, prompt_id: str, seed: int) -> StepPrompt:
        """Return a puzzle untouched."""
        return StepPrompt(prompt_id, seed, self._game(int(prompt_id)))
