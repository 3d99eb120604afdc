"""A simulated world of three models and four purposes, whose best routing table is known.

Every number here is assumed. The quality of a reply is that of its turn, times what each purpose's
model leaves of it, plus noise: of the reply itself and of its judge. A model loses little up to the
complexity that it masters, and much above it; how much differs between conversations, and is
skewed. So purposes interact a little: what one has lost another cannot lose again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from callwise.tuning.panel import Panel

__all__ = ["MODELS", "PURPOSES", "Option", "Recorded", "RoutingWorld", "options_of"]

Floats = NDArray[np.float64]

MODELS = ("small", "medium", "large")
PURPOSES = ("detect", "reason", "generate", "judge")

Option = tuple[float, float]
"""Highest complexity that the small and that the medium model answer; the large one the rest."""


@dataclass(frozen=True)
class RoutingWorld:
    """Dependence of prices and losses on model, purpose and complexity.

    Args:
        masters: highest complexity that small and medium master, by purpose.
        losses: share of quality that is lost above it, by small and medium, by purpose.
        always: share that is lost at any complexity, likewise.
        usd: mean price of a call by small, medium and large, by purpose.
        noise: SD of a reply's and its judge's noise; the scale of quality is 1 wide.
        slope: width of the change from mastering to losing, in complexity; 0 is a step.
    """

    masters: tuple[tuple[float, float], ...] = ((1.0, 1.0), (0.35, 0.6), (0.0, 0.35), (0.6, 1.0))
    losses: tuple[tuple[float, float], ...] = ((0.0, 0.0), (0.2, 0.15), (0.3, 0.2), (0.15, 0.0))
    always: tuple[tuple[float, float], ...] = (
        *((0.0, 0.0), (0.001, 0.0005)),
        *((0.02, 0.001), (0.0005, 0.0)),
    )
    usd: tuple[tuple[float, float, float], ...] = (
        *((1.0, 4.0, 12.0), (2.0, 9.0, 30.0)),
        *((3.0, 14.0, 45.0), (1.5, 7.0, 22.0)),
    )
    noise: float = 0.05
    slope: float = 0.0

    def record(self, rng: np.random.Generator, conversations: int) -> "Recorded":
        """Return a recording: what every table would give on each of its turns."""
        lengths = rng.integers(3, 16, conversations)
        of = np.repeat(np.arange(conversations), lengths)
        turns = len(of)
        latent = (
            math.sqrt(0.3) * rng.normal(size=conversations)[of]
            + math.sqrt(0.3) * rng.normal(size=turns)
            + math.sqrt(0.4) * rng.normal(size=(len(PURPOSES), turns))
        )
        complexity = np.vectorize(NormalDist().cdf)(latent)
        hardness = rng.gamma(4.0, 0.25, conversations)[of]
        base = (
            0.9 - 0.1 * rng.exponential(1.0, conversations)[of] - 0.05 * rng.exponential(1.0, turns)
        )
        tokens = rng.lognormal(-0.125, 0.5, (len(PURPOSES), turns))
        noise = rng.normal(0.0, self.noise, (len(MODELS) ** len(PURPOSES), turns))
        return Recorded(self, of, complexity, hardness, np.clip(base, 0.0, 1.0), tokens, noise)


@dataclass(frozen=True)
class Recorded:
    """Turns of a world, and whatever any routing table would make of them."""

    world: RoutingWorld
    of: NDArray[np.intp]
    complexity: Floats
    hardness: Floats
    base: Floats
    tokens: Floats
    noise: Floats

    @cached_property
    def kept(self) -> Floats:
        """(P, M, T) share of the quality that each purpose's model leaves."""
        world = self.world
        found = np.ones((len(PURPOSES), len(MODELS), len(self.of)))
        for purpose, model in product(range(len(PURPOSES)), (0, 1)):
            over = self.complexity[purpose] - world.masters[purpose][model]
            share = (
                np.clip(over / world.slope, 0.0, 1.0) if world.slope else (over > 0).astype(float)
            )
            loss = world.losses[purpose][model] * share * self.hardness
            found[purpose, model] = 1.0 - np.minimum(loss + world.always[purpose][model], 1.0)
        return found

    def models(self, purpose: int, option: Option) -> NDArray[np.intp]:
        """(T,) the model that answers each turn's call of a purpose."""
        own = self.complexity[purpose]
        found: NDArray[np.intp] = np.where(own <= option[0], 0, np.where(own <= option[1], 1, 2))
        return found

    def quality(self, table: Sequence[Option], *, is_noisy: bool = True) -> Floats:
        """(T,) quality of each turn's reply under a table."""
        turns = np.arange(len(self.of))
        values, path = self.base.copy(), np.zeros(len(self.of), dtype=np.intp)
        for purpose, option in enumerate(table):
            model = self.models(purpose, option)
            values *= self.kept[purpose, model, turns]
            path = path * len(MODELS) + model
        return values + self.noise[path, turns] if is_noisy else values

    def usd(self, table: Sequence[Option]) -> Floats:
        """(T,) price of each turn under a table."""
        prices = np.array(self.world.usd)
        found = np.zeros(len(self.of))
        for purpose, option in enumerate(table):
            found += prices[purpose, self.models(purpose, option)] * self.tokens[purpose]
        return found

    def panels(self, tables: Mapping[str, Sequence[Option]]) -> tuple[Panel, Panel]:
        """Return price and quality of tables by name."""
        names = tuple(tables)
        conversations = tuple(f"c{at}" for at in range(int(self.of[-1]) + 1))

        def panel(rows: list[Floats]) -> Panel:
            values = np.array(rows)
            return Panel(names, conversations, self.of, values, np.zeros_like(values))

        return panel([self.usd(each) for each in tables.values()]), panel(
            [self.quality(each) for each in tables.values()]
        )

    def truths(self, options: Sequence[Sequence[Option]]) -> tuple[Floats, Floats]:
        """Return price and quality of every table, one axis per purpose, without noise.

        The recording is that of the whole population, many thousands of turns.
        """
        kept = [
            np.array(
                [
                    self.kept[purpose, self.models(purpose, option), np.arange(len(self.of))]
                    for option in own
                ]
            )
            for purpose, own in enumerate(options)
        ]
        sizes = [len(own) for own in options]
        quality = np.zeros((sizes[0] * sizes[1], sizes[2] * sizes[3]))
        for start in range(0, len(self.of), 10_000):
            part = slice(start, start + 10_000)
            one, two, three, four = (each[:, part] for each in kept)
            left = (one[:, None] * two[None]).reshape(-1, one.shape[1]) * self.base[part]
            right = (three[:, None] * four[None]).reshape(-1, one.shape[1])
            quality += left @ right.T
        prices = [
            np.array(
                [
                    (
                        np.array(self.world.usd)[purpose, self.models(purpose, option)]
                        * self.tokens[purpose]
                    ).mean()
                    for option in own
                ]
            )
            for purpose, own in enumerate(options)
        ]
        usd = sum(np.ix_(*prices))
        return np.asarray(usd), (quality / len(self.of)).reshape(sizes)


def options_of(levels: Sequence[float]) -> list[Option]:
    """Return all options of three models at some levels of complexity; the last is all large."""
    ends = (0.0, *levels, 1.0)
    pairs = [(low, high) for low in ends for high in ends if low <= high]
    return sorted(pairs, key=lambda each: (-each[0], -each[1]))
