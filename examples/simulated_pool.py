"""A simulated pool of prompts, on which search policies are compared without a model.

A candidate is a number, its hidden quality, in SD of candidates from scratch, whose mean is 0.
A refined one has its parent's quality plus a gain, smaller the better the parent is. The judge is
the simulated model's: truth, a bias that it repeats, noise, drift of a judge call, a bias for
early positions, and rounding. All draws of a prompt are made at once, from the seed and its
number, so that every policy meets the same candidates and the same errors of the judge.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from statistics import NormalDist

import numpy as np

from callwise.simulator.judge import JUDGE_CALIBRATION, judge_weights
from callwise.tuning import TurnRow
from callwise.tuning.notebook import row_of_trial
from lats import Draft, Drafts, SearchKnobs, Verdict, Verdicts, drive, start_search
from lats.actions import Action
from lats.policy import SearchPolicy
from lats.rule_score import ReplyContext

__all__ = ["MAX_CAP", "PoolSettings", "PromptTrial", "knobs_at", "run_trials"]

MAX_CAP, REQUESTS, WIDTH, CHILDREN = 20, 32, 12, 128
"""Draws of a prompt: judge calls (also the largest cap), requests from scratch, candidates of
one request, and refined candidates."""

PARENT_QUALITY, GAIN_LEFT, GAIN_SD = (-1.0, 0.0, 1.0, 2.0, 3.0), (0.98, 0.86, 0.60, 0.30, 0.0), 0.6
"""Share of the gain that is left at a parent's quality, measured on the simulated model's replies
(docs/simulated-model.md; 0 at +3 is assumed), and the SD of a gain, that model's default."""


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """One kind of prompts, and one judge.

    Args:
        accuracy: within-prompt correlation of one score with the truth, in [0, 1]; None is the
            calibrated judge (.26). 1 is an exact judge: no rounding, no bias for positions.
        similarity: correlation of two candidates of one request, in [0, 1].
        gain: mean gain of a refined candidate, in SD, before less is left of it.
        seed: of all draws; at least 0.
    """

    accuracy: float | None = None
    similarity: float = 0.3
    gain: float = 0.5
    seed: int = 0


class PromptTrial:
    """The answers to one search on one prompt. A candidate is an index into its draws."""

    def __init__(self, settings: PoolSettings, prompt: int, search: SearchPolicy) -> None:
        self._settings, self._search, first_child = settings, search, REQUESTS * WIDTH
        size = first_child + CHILDREN
        draw = np.random.default_rng([20_261, settings.seed, prompt]).standard_normal
        shared, own = math.sqrt(settings.similarity), math.sqrt(1 - settings.similarity)
        scratch = shared * draw((REQUESTS, 1)) + own * draw((REQUESTS, WIDTH))
        self._drawn = [float(x) for x in (*scratch.flat, *(GAIN_SD * draw(CHILDREN)))]
        self._biases, self._noises, self._drifts = draw(size), draw((size, MAX_CAP)), draw(MAX_CAP)
        self._requests = (range(at, at + WIDTH) for at in range(0, first_child, WIDTH))
        self._children = iter(range(first_child, size))
        self._calls, self._readings = count(), Counter[int]()
        self.qualities: dict[int, float] = {}

    def generate(self, k: int) -> list[int]:
        """Return new candidates from scratch, at most `k`, all of one request."""
        born = list(next(self._requests)[:k])
        self.qualities |= {each: self._drawn[each] for each in born}
        return born

    def refine(self, parent: int, k: int) -> list[int]:
        """Return refined candidates of a parent, at most `k`."""
        above, born = self.qualities[parent], list(islice(self._children, k))
        gain = self._settings.gain * float(np.interp(above, PARENT_QUALITY, GAIN_LEFT))
        self.qualities |= {each: above + gain + self._drawn[each] for each in born}
        return born

    def judge(self, candidates: Sequence[int]) -> list[float]:
        """Return the scores of one judge call, each in [0, 1]; it reads in the given order."""
        truths, read = [self.qualities[each] for each in candidates], list(candidates)
        if self._settings.accuracy == 1:
            return [NormalDist().cdf(truth) for truth in truths]
        figures = JUDGE_CALIBRATION
        weights, drift = judge_weights(self._settings.accuracy, figures), figures.drift_share
        own = self._noises[read, [self._readings[each] for each in read]]
        self._readings.update(read)
        noise = math.sqrt(drift) * self._drifts[next(self._calls)] + math.sqrt(1 - drift) * own
        favour = np.linspace(1, -1, len(read)) if len(read) > 1 else np.zeros(1)
        reading = weights.truth * np.array(truths) + weights.bias * self._biases[read]
        reading += weights.noise * noise + figures.position_bias_sd * favour
        rounded = np.round(reading / figures.step_sd) * figures.step_sd
        scores = figures.score_centre + figures.score_sd * rounded
        return [float(score) for score in np.clip(np.round(scores, 3), 0, 1)]

    async def answer_round(self, actions: Sequence[Action]) -> list[Drafts | Verdicts]:
        """Return one answer for each action, in their order."""
        return [self._answer(action) for action in actions]

    def _answer(self, action: Action) -> Drafts | Verdicts:
        ids = () if action.kind == "generate" else action.node_ids
        known = [self._search.tree.nodes[each].draft.payload["index"] for each in ids]
        if action.kind == "judge_list":
            return Verdicts(dict(zip(ids, map(Verdict, self.judge(known)), strict=True)))
        born = self.refine(known[0], action.k) if known else self.generate(action.k)
        # Strategy tags differ, since `classic_uct` asks for more candidates where they are alike.
        named = [(f"candidate {each}", f"{each:03d}", {"index": each}) for each in born]
        return Drafts(tuple(Draft(reply=a, strategy_tag=b, payload=c) for a, b, c in named))


async def run_trials(
    caps: Mapping[str, Sequence[int]], *, prompts: int, settings: PoolSettings | None = None
) -> list[TurnRow]:
    """Return a row for every policy, cap and prompt; a setting's name is `listwise 6`.

    Args:
        caps: most calls of a search, each from 1 to `MAX_CAP`, by policy.
        prompts: how many are drawn.
        settings: of prompts and judge; None takes the calibrated judge.
    """
    pool, rows = settings or PoolSettings(), list[TurnRow]()
    for policy, cap, prompt in ((p, c, n) for p in caps for c in caps[p] for n in range(prompts)):
        search = start_search(knobs_at(policy, cap, pool.seed), ReplyContext(user_text=""))
        trial = PromptTrial(pool, prompt, search)
        found = await drive(search, trial.answer_round)
        truth = 0.0 if found.best is None else trial.qualities[found.best.draft.payload["index"]]
        cost, by = {"calls": found.calls, "rounds": found.rounds}, "truth:simulated"
        rows += [row_of_trial(f"{policy} {cap}", str(prompt), **cost, quality=truth, quality_by=by)]
    return rows


def knobs_at(policy: str, cap: int, seed: int = 0) -> SearchKnobs:
    """Return a policy's knobs for at most `cap` calls."""
    if not 1 <= cap <= MAX_CAP:
        raise ValueError(f"a search of this pool has 1 to {MAX_CAP} calls, got {cap}")
    # A rollout of `classic_uct` takes 2 calls; 3 are for the root, its judge and the last judge.
    given = {"policy": policy, "max_calls": cap, "seed": seed, "rollouts": max((cap - 3) // 2, 0)}
    return SearchKnobs.model_validate(given | {"early_exit": {"enabled": False}})


if __name__ == "__main__":
    for row in asyncio.run(run_trials({"listwise": (3, 6, 11)}, prompts=1)):
        print(f"{row.setting}: {row.asked} calls, {row.rounds_reply} rounds, {row.quality:.2f} SD")
