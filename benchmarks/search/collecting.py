"""Running everything that is to be compared on a pool, into one record a policy and cap."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.pools import Half, Pool, PoolPrompt
from benchmarks.search.running import Run, Runner, by_prompt, run_grid, run_policy
from benchmarks.search.settings import PEERS, Entry, knobs_for
from lats.search_knobs import SearchKnobs

__all__ = ["FIELDS", "MAX_MISS_RATE", "PeerRunner", "RuledRunner", "Runs", "collect"]

Floats = NDArray[np.float64]

FIELDS = (
    "truth",
    "requests",
    "completions",
    "items",
    "rounds",
    "misses",
    "expansions",
    "chance_best",
    "is_best",
)
"""Fields that are kept of each run; see `Run`."""

MAX_MISS_RATE = 0.10
"""Share of misses above which a policy is not reported: the record does not hold its calls."""


@dataclass(frozen=True, slots=True)
class Runs:
    """All runs of one policy at one cap on one pool.

    Args:
        pool: its name.
        policy: the policy's label.
        cap: requests that a run was allowed.
        prompts: ids, in order.
        values: by field of `FIELDS`, (prompts, seeds).
        random_truth: expected truth of a pick by lot, (prompts,).
        oracle_truth: truth of the best pick there is, (prompts,).
    """

    pool: str
    policy: str
    cap: int
    prompts: tuple[str, ...]
    values: Mapping[str, Floats]
    random_truth: Floats
    oracle_truth: Floats

    @property
    def shares(self) -> Floats:
        """Quality of the pick by prompt, mean over seeds, as a share of the pool's gap, (prompts,).

        0 is a pick by lot and 1 the best pick, on average over the pool.

        Raises:
            ValueError: for a pool in which nothing is better than a pick by lot.
        """
        gap = float((self.oracle_truth - self.random_truth).mean())
        if not gap > 0:
            raise ValueError(f"{self.pool}: the oracle is no better than a pick by lot")
        quality: Floats = (self.values["truth"].mean(axis=1) - self.random_truth) / gap
        return quality

    @property
    def miss_rate(self) -> float:
        """Misses as a share of the requests that go on from a candidate."""
        expansions = float(self.values["expansions"].sum())
        return float(self.values["misses"].sum()) / expansions if expansions else 0.0

    @property
    def is_reported(self) -> bool:
        """Whether the record holds nearly all that the policy asked for."""
        return self.miss_rate <= MAX_MISS_RATE

    def mean(self, field: str) -> float:
        """Return the mean of a field over prompts and seeds."""
        return float(self.values[field].mean())

    def part(self, prefix: str, pool: str) -> "Runs":
        """Return the runs of the prompts whose id begins with a prefix, as another pool's.

        Raises:
            ValueError: when there is none.
        """
        places = [at for at, prompt in enumerate(self.prompts) if prompt.startswith(prefix)]
        if not places:
            raise ValueError(f"no prompt of {self.pool} begins with {prefix!r}")
        return Runs(
            pool=pool,
            policy=self.policy,
            cap=self.cap,
            prompts=tuple(self.prompts[at] for at in places),
            values={name: value[places] for name, value in self.values.items()},
            random_truth=self.random_truth[places],
            oracle_truth=self.oracle_truth[places],
        )


@dataclass(frozen=True, slots=True)
class PeerRunner:
    """A peer at a cap, as plain data, so that other processes can be given it."""

    policy: str
    cap: int

    def __call__(self, prompt: PoolPrompt, *, seed: int) -> Run:
        """Return what becomes of it on a fresh prompt, which has the seed itself."""
        if seed != prompt.seed:
            raise ValueError(f"seed {seed} for a prompt that was shuffled by {prompt.seed}")
        return PEERS[self.policy](prompt, self.cap)


@dataclass(frozen=True, slots=True)
class RuledRunner:
    """A search in which the rules about replies have a say, as in the pipeline."""

    knobs: SearchKnobs

    def __call__(self, prompt: PoolPrompt, *, seed: int) -> Run:
        """Return what becomes of it on a fresh prompt, which has the seed itself."""
        if seed != prompt.seed:
            raise ValueError(f"seed {seed} for a prompt that was shuffled by {prompt.seed}")
        return run_policy(self.knobs, prompt, has_rules=True)


def _setting(entry: Entry, pool: Pool) -> SearchKnobs | Runner:
    if entry.policy in PEERS:
        return PeerRunner(entry.policy, entry.cap)
    knobs = knobs_for(entry, pool)
    return RuledRunner(knobs) if entry.has_rules else knobs


def _bounds(pool: Pool, prompts: Sequence[str], seeds: Sequence[int]) -> tuple[Floats, Floats]:
    shape = (len(prompts), len(seeds))
    random_truth, oracle_truth = np.empty(shape), np.empty(shape)
    for row, prompt_id in enumerate(prompts):
        for column, seed in enumerate(seeds):
            prompt = pool.prompt(prompt_id, seed)
            random_truth[row, column] = prompt.random_truth()
            oracle_truth[row, column] = prompt.oracle_truth()
    return random_truth.mean(axis=1), oracle_truth.mean(axis=1)


def collect(
    pool: Pool,
    entries: Sequence[Entry],
    *,
    half: Half,
    seeds: int,
    workers: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Runs]:
    """Return the runs of every entry on every prompt of one half, in the order of the entries.

    Args:
        pool: its prompts.
        entries: what is run.
        half: of the prompts.
        seeds: shuffles of each prompt, from 0.
        workers: processes; 1 stays in this one.
        on_progress: called with prompts done and prompts in all.

    Raises:
        RuntimeError: when a policy passed its cap.
    """
    named = {f"{entry.label} @ {entry.cap}": entry for entry in entries}
    rows = run_grid(
        pool,
        {name: _setting(entry, pool) for name, entry in named.items()},
        half=half,
        seeds=seeds,
        max_workers=workers,
        on_progress=on_progress,
    )
    prompts = pool.half(half)
    random_truth, oracle_truth = _bounds(pool, prompts, range(seeds))
    found = []
    for name, entry in named.items():
        own = rows[rows["setting"] == name]
        values = {field: by_prompt(own, name, field) for field in FIELDS}
        most = int(values["requests"].max())
        if most > entry.cap:
            raise RuntimeError(f"{name} on {pool.name} made {most} requests")
        found.append(
            Runs(
                pool=pool.name,
                policy=entry.label,
                cap=entry.cap,
                prompts=tuple(prompts),
                values=values,
                random_truth=random_truth,
                oracle_truth=oracle_truth,
            )
        )
    return found
