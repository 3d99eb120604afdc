"""A simulated pool: Gaussian candidates, and the simulated model's own judge. No language.

A prompt here is a table of numbers. A candidate from scratch has a hidden quality with
mean 0 and SD 1, the unit: the SD within a prompt. Two of one request
correlate by `similarity`. A child has its parent's quality plus a gain, less where the
parent is already good, as the simulated model's replies do (docs/simulated-model.md).

The judge is the simulated model's: weights, the bias that a rubric repeats, the drift of a
call, the bias for places, the rounding and the scale are those of
`callwise/simulator/judge.py`. Left out: missing scores and sub-scores.

All draws of a prompt are made together, from its place and the seed, so that every policy
sees the same candidates, and the judge misreads them alike for each.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.pools import OVERALL, Half, Item, Pool, PoolPrompt
from benchmarks.search.simulated_setting import SimulatedSetting
from callwise.simulator.judge import JUDGE_CALIBRATION
from lats.answers import Verdict

__all__ = ["ORACLE_CANDIDATES", "SimulatedPool", "SimulatedPrompt"]

ORACLE_CANDIDATES = 12
"""The oracle line is the best of so many from scratch. Refinement may pass it."""

MAX_GENERATIONS, MAX_WIDTH, MAX_CHILDREN, MAX_LOOKS = 32, 12, 128, 20

MAX_KEPT_WORLDS = 1024
"""Prompts whose draws a pool keeps, some 80 KB each."""

_PARENT_AT = (-1.0, 0.0, 1.0, 2.0, 3.0)
_GAIN_LEFT = (0.98, 0.86, 0.60, 0.30, 0.0)
"""Share of the gain that is left at a parent's quality: measured on the simulated model's
replies (docs/simulated-model.md), but for 0 at +3, which is assumed."""

REFINEMENT_SD = 0.6
"""SD of a child's gain; the simulated model's default."""


class _World:
    """All draws of one prompt under one seed."""

    def __init__(self, setting: SimulatedSetting, place: int, seed: int) -> None:
        lots = np.random.default_rng([20_261, seed, place])
        shared, own = math.sqrt(setting.similarity), math.sqrt(1.0 - setting.similarity)
        base = lots.standard_normal((MAX_GENERATIONS, 1))
        each = lots.standard_normal((MAX_GENERATIONS, MAX_WIDTH))
        self.scratch: NDArray[np.float64] = shared * base + own * each
        self.gains = lots.standard_normal(MAX_CHILDREN)
        count = self.scratch.size + MAX_CHILDREN
        self.biases = lots.standard_normal(count)
        self.noises = lots.standard_normal((count, MAX_LOOKS))
        self.drifts = lots.standard_normal(MAX_LOOKS)
        self.unjudged = lots.random(MAX_LOOKS)
        if setting.candidates is None:
            # The best of 3 requests of 4: as similar among themselves as policies see them.
            of_oracle = self.scratch[:, :4].ravel()[:ORACLE_CANDIDATES]
        else:
            of_oracle = self.scratch.ravel()[: setting.candidates]
        self.best = float(of_oracle.max())
        self.mean = 0.0 if setting.candidates is None else float(of_oracle.mean())


class SimulatedPrompt(PoolPrompt):
    """One prompt, untouched."""

    def __init__(self, setting: SimulatedSetting, world: _World, prompt_id: str, seed: int) -> None:
        super().__init__(prompt_id, seed=seed)
        self._setting = setting
        self._world = world
        self._weights = setting.weights()
        self._generations = self._handed_out = self._children = self._looks = 0
        self._row: dict[str, int] = {}
        self._quality: dict[str, float] = {}
        self._reads: dict[str, int] = {}

    def generate(self, k: int) -> list[Item]:
        """Return the next candidates from scratch, at most `k`."""
        self.check_open()
        world, size = self._world, self._world.scratch.size
        limit = self._setting.candidates
        if limit is not None:
            first = self._handed_out
            rows: Sequence[int] = range(first, min(first + k, limit))
        elif self._generations < MAX_GENERATIONS:
            first = self._generations * MAX_WIDTH
            rows = range(first, first + min(k, MAX_WIDTH))
        else:
            rows = ()
        self._generations += 1
        self._handed_out += len(rows)
        self.exhausted += k - len(rows)
        assert all(row < size for row in rows)
        return [self._new(row, float(world.scratch.flat[row]), None) for row in rows]

    def _new(self, row: int, quality: float, parent: str | None) -> Item:
        item = Item(f"{row}", f"candidate {row}", parent)
        self._row[item.item_id], self._quality[item.item_id] = row, quality
        return item

    def expand(self, item: Item, k: int) -> list[Item]:
        """Return children of a candidate; without a gain, the next from scratch."""
        self.check_open()
        if self._setting.gain is None:
            return self.generate(k)
        born = min(k, MAX_CHILDREN - self._children)
        self.exhausted += k - born
        above = self._quality[item.item_id]
        left = float(np.interp(above, _PARENT_AT, _GAIN_LEFT))
        items = []
        for place in range(self._children, self._children + born):
            change = self._setting.gain * left + REFINEMENT_SD * self._world.gains[place]
            quality = above + float(change)
            items.append(self._new(self._world.scratch.size + place, quality, item.item_id))
        self._children += born
        return items

    def judge(self, items: Sequence[Item], rubric: str = OVERALL) -> list[Verdict | None]:
        """Return one look at the items, in the order in which they stand."""
        self.check_open()
        if rubric != OVERALL:
            raise ValueError(f"the simulated judge has the rubric {OVERALL!r} only, got {rubric!r}")
        look = self._looks
        self._looks += 1
        if not items:
            return []
        if look >= MAX_LOOKS or self._world.unjudged[look] < self._setting.unjudged_rate:
            self.exhausted += look >= MAX_LOOKS
            return [None] * len(items)
        return self._verdicts(items, look)

    def _verdicts(self, items: Sequence[Item], look: int) -> list[Verdict | None]:
        figures, world = JUDGE_CALIBRATION, self._world
        count = len(items)
        rows = [self._row[item.item_id] for item in items]
        reads = [self._reads.get(item.item_id, 0) for item in items]
        for item, read in zip(items, reads, strict=True):
            self._reads[item.item_id] = read + 1
            self.exhausted += read >= MAX_LOOKS
        truth, bias, noise = self._weights
        drift = figures.drift_share
        own = world.noises[rows, np.minimum(reads, MAX_LOOKS - 1)]
        slopes = np.linspace(1.0, -1.0, count) if count > 1 else np.zeros(1)
        latent = (
            truth * np.array([self._quality[item.item_id] for item in items])
            + bias * world.biases[rows]
            + noise * (math.sqrt(drift) * world.drifts[look] + math.sqrt(1 - drift) * own)
            + slopes * figures.position_bias_sd
        )
        if self._setting.is_rounded:
            latent = np.round(latent / figures.step_sd) * figures.step_sd
        scores = figures.score_centre + figures.score_sd * latent
        read_scores = np.clip(np.round(scores, 3), 0.0, 1.0).tolist()
        return [
            Verdict(score=score) if read < MAX_LOOKS else None
            for score, read in zip(read_scores, reads, strict=True)
        ]

    def _truth_of(self, item: Item) -> float:
        return self._quality[item.item_id]

    def random_truth(self) -> float:
        """Return 0, the mean of candidates from scratch, or the mean of a limited pool."""
        return self._world.mean

    def oracle_truth(self) -> float:
        """Return the quality of the best of the limited pool, or of the first 12."""
        return self._world.best


class SimulatedPool(Pool):
    """Prompts of one or several settings. Drawn, not recorded: no half is held back.

    Args:
        settings: each has the same number of prompts; their ids begin with `prefix(place)`.
        prompts: of each setting.
        name: for a table; "simulated: " is put before it.
    """

    def __init__(
        self, settings: Sequence[SimulatedSetting], prompts: int, *, name: str = "grid"
    ) -> None:
        super().__init__(
            name=f"simulated: {name}",
            description="Gaussian candidates and the simulated model's judge",
            cost_model="one request brings up to 12 candidates, or reads any number of them",
            prompt_ids=[
                f"{self.prefix(place)}{number:05d}"
                for place in range(len(settings))
                for number in range(prompts)
            ],
        )
        self.settings = tuple(settings)
        self._known = frozenset(self.prompt_ids)
        self._worlds: dict[tuple[str, int], _World] = {}

    @staticmethod
    def prefix(place: int) -> str:
        """Return what the ids of a setting's prompts begin with."""
        return f"{place:03d}-"

    def __getstate__(self) -> dict[str, Any]:
        """Return it without its draws, for another process: they follow from the seed."""
        return {**self.__dict__, "_worlds": {}}

    def half(self, half: Half) -> tuple[str, ...]:
        """Return all prompts, whichever half is asked for."""
        super().half(half)
        return self.prompt_ids

    def prompt(self, prompt_id: str, seed: int) -> SimulatedPrompt:
        """Return a prompt untouched. Its draws are made once, and kept for a while."""
        key = (prompt_id, seed)
        if prompt_id not in self._known:
            raise KeyError(prompt_id)
        place, number = (int(part) for part in prompt_id.split("-"))
        setting = self.settings[place]
        if key not in self._worlds:
            if len(self._worlds) >= MAX_KEPT_WORLDS:
                self._worlds.clear()
            self._worlds[key] = _World(setting, number, seed)
        return SimulatedPrompt(setting, self._worlds[key], prompt_id, seed)
