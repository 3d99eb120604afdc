"""From runs to figures: means over prompts, and differences paired with the baseline's.

`intervals` explains how intervals are made, and what they allow to be claimed; here they are
applied to every policy and cap of a pool.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.search.collecting import Runs
from benchmarks.search.intervals import Claim, Interval, margin_of, mean_interval
from benchmarks.search.intervals import compare as claim_of

__all__ = ["BASELINE", "MAX_MISS_RATE", "Comparison", "Verdict", "compare"]

BASELINE = ("classic_uct", 11)
"""Policy and cap that all others are held against: the specification's shape."""

MAX_MISS_RATE = 0.10
"""Share of misses above which a policy is not reported: the record does not hold its calls."""

Verdict = Literal["better", "not worse", "worse", "open", "baseline", "not reported", "alone"]
"""Of the paired difference's interval: `better` is above 0, `not worse` above the margin,
`worse` below 0 throughout, `open` none of these. `alone` has no baseline to be held against."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One policy at one cap on one pool.

    Args:
        pool: its name.
        policy: the policy's label.
        cap: requests that it was allowed.
        requests: mean a prompt.
        completions: mean a prompt.
        items: mean a prompt.
        rounds: mean a prompt.
        miss_rate: misses as a share of the requests that go on from a candidate.
        quality: mean truth of the pick, in the pool's unit.
        claim: what may be said of it compared with the baseline; None for the baseline itself, and
            where there is none.
        verdict: see `Verdict`.
        random_truth: mean of the pick by lot.
        oracle_truth: mean of the best pick there is.
    """

    pool: str
    policy: str
    cap: int
    requests: float
    completions: float
    items: float
    rounds: float
    miss_rate: float
    quality: Interval
    claim: Claim | None
    verdict: Verdict
    random_truth: float
    oracle_truth: float

    @property
    def gap(self) -> float:
        """From a pick by lot to the best pick, in the pool's unit."""
        return self.oracle_truth - self.random_truth

    @property
    def share(self) -> float | None:
        """The difference to the baseline as a share of the gap; None without one."""
        if self.claim is None or self.gap <= 0:
            return None
        return self.claim.difference.mean / self.gap


def miss_rate_of(runs: Runs) -> float:
    """Return misses as a share of the requests that go on from a candidate."""
    expansions = float(runs.values["expansions"].sum())
    return float(runs.values["misses"].sum()) / expansions if expansions else 0.0


def compare(
    runs: Sequence[Runs], *, baseline: tuple[str, int] = BASELINE, seed: int = 0
) -> list[Comparison]:
    """Return the comparison of every policy and cap of one pool with the baseline.

    Args:
        runs: of one pool, all on the same prompts.
        baseline: policy and cap. Where it was not run, or its own misses are too many,
            nothing is held against it.
        seed: of the bootstrap.

    Raises:
        ValueError: when they are of several pools, or of other prompts.
    """
    if len({(each.pool, each.prompts) for each in runs}) != 1:
        raise ValueError("a comparison is one of policies on the same prompts of one pool")
    base = next((each for each in runs if (each.policy, each.cap) == baseline), None)
    if base is not None and miss_rate_of(base) > MAX_MISS_RATE:
        base = None
    return [_compared(each, base, seed) for each in runs]


def _compared(runs: Runs, base: Runs | None, seed: int) -> Comparison:
    random_truth = float(runs.random_truth.mean())
    oracle_truth = float(runs.oracle_truth.mean())
    truth, miss_rate = runs.values["truth"], miss_rate_of(runs)
    claim = None
    if base is not None and base is not runs:
        margin = margin_of(random_truth, oracle_truth)
        claim = claim_of(truth, base.values["truth"], margin=margin, seed=seed)
    return Comparison(
        pool=runs.pool,
        policy=runs.policy,
        cap=runs.cap,
        requests=float(runs.values["requests"].mean()),
        completions=float(runs.values["completions"].mean()),
        items=float(runs.values["items"].mean()),
        rounds=float(runs.values["rounds"].mean()),
        miss_rate=miss_rate,
        quality=mean_interval(truth, seed=seed),
        claim=claim,
        verdict=_verdict(claim, miss_rate, is_baseline=base is runs),
        random_truth=random_truth,
        oracle_truth=oracle_truth,
    )


def _verdict(claim: Claim | None, miss_rate: float, *, is_baseline: bool) -> Verdict:
    if miss_rate > MAX_MISS_RATE:
        return "not reported"
    if is_baseline:
        return "baseline"
    if claim is None:
        return "alone"
    if claim.is_better:
        return "better"
    if claim.is_not_worse:
        return "not worse"
    return "worse" if claim.difference.high < 0 else "open"
