"""The stages of a run: what is measured, in which order, on what."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.figures import Figure
from benchmarks.search.bias import JudgeBias, measure_bias
from benchmarks.search.calibrated import (
    JudgeFigures,
    TrustRow,
    measured,
    setting_like,
    trust_rows,
)
from benchmarks.search.collecting import Runs, collect
from benchmarks.search.comparing import Average, Comparison, averages, compare
from benchmarks.search.confidence import Bin, bins_of
from benchmarks.search.overhead import SIZES, StepCost, measure_overhead
from benchmarks.search.peers_treequest import REASON_ABSENT, is_installed
from benchmarks.search.pools import Half, Pool, PoolAbsent
from benchmarks.search.saving import Saving, saving_of
from benchmarks.search.settings import (
    BIASED_POOLS,
    CAPS,
    CLASSIC_CAPS,
    MEAN_POOLS,
    POOLS,
    PRESETS,
    Entry,
    entries,
    grid_entries,
    is_tree,
)
from benchmarks.search.simulated import SimulatedPool
from benchmarks.search.simulated_setting import GRID, SimulatedSetting
from benchmarks.search.step_table import STEP_CASES, solved_shares, step_claims, step_table

__all__ = ["Found", "Scale", "measure"]

TRUSTED = ("classic_uct", "listwise", "best-of-N, plain", "best-of-N, packed")
"""Policies that are held against the simulator."""

STOPPING = "thorough"
"""The preset that stops on its own; next to it, all policies with a `min_gain`."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Amount that is run.

    Args:
        half: of the recorded prompts.
        seeds: shuffles of each recorded prompt.
        simulated_prompts: of each simulated setting.
        caps: on recorded pools.
        puzzles: of each task of steps; 0 leaves them out, else at least 2.
        turns: of the timing of steps.
        sizes: of trees whose steps are timed, in nodes.
        workers: processes.
    """

    half: Half = "reporting"
    seeds: int = 5
    simulated_prompts: int = 100
    caps: tuple[int, ...] = CAPS
    puzzles: int = 100
    turns: int = 5
    sizes: tuple[int, ...] = SIZES
    workers: int = 2


@dataclass(slots=True)
class Found:
    """Everything that a run found.

    Args:
        absent: why a pool or a peer was not run, by key.
        described: description and cost model of each pool that was, by name.
        mean_pools: names of the pools that count in means.
        biased_pools: names of those whose judge is biased.
        biases: each flat pool's judge, noise averaged out, on the half that is run.
        pools: comparisons with the baselines, pool after pool.
        averages: means over the pools that count, by policy and cap.
        savings: requests that plans save by stopping on their own, pool after pool.
        confidence: said and true, pool after pool, of the presets' searches.
        grid: comparisons on the simulated grid, setting after setting.
        judges: each flat pool's judge on the tuning half, by pool.
        trust: recorded and simulated.
        overhead: what a step costs.
        step_tables: shares solved of tasks of steps, as Markdown, one table a task.
        step_claims: those of them that have a target.
    """

    absent: dict[str, str] = field(default_factory=dict)
    described: dict[str, tuple[str, str]] = field(default_factory=dict)
    mean_pools: list[str] = field(default_factory=list)
    biased_pools: list[str] = field(default_factory=list)
    biases: list[JudgeBias] = field(default_factory=list)
    pools: list[Comparison] = field(default_factory=list)
    averages: list[Average] = field(default_factory=list)
    savings: list[Saving] = field(default_factory=list)
    confidence: list[Bin] = field(default_factory=list)
    grid: list[Comparison] = field(default_factory=list)
    judges: dict[str, JudgeFigures] = field(default_factory=dict)
    trust: list[TrustRow] = field(default_factory=list)
    overhead: list[StepCost] = field(default_factory=list)
    step_tables: list[str] = field(default_factory=list)
    step_claims: list[Figure] = field(default_factory=list)


Say = Callable[[str], None]


def measure(keys: Sequence[str], scale: Scale, say: Say) -> Found:
    """Return everything that these pools, the simulator and the clock have to tell.

    Args:
        keys: of recorded pools. Those whose record is absent are named in the result.
        scale: how much is run.
        say: called with what is under way.

    Raises:
        ValueError: when there is no such pool.
    """
    found = Found()
    if not is_installed():
        found.absent["treequest"] = REASON_ABSENT
        say(REASON_ABSENT)
    pools: dict[str, Pool] = {}
    for key in keys:
        if key not in POOLS:
            raise ValueError(f"there is no pool {key!r}; there are: {', '.join(POOLS)}")
        try:
            pools[key] = POOLS[key]()
        except PoolAbsent as absent:
            found.absent[key] = str(absent)
            say(f"{key}: {absent}")
    found.mean_pools = [pool.name for key, pool in pools.items() if key in MEAN_POOLS]
    found.biased_pools = [pool.name for key, pool in pools.items() if key in BIASED_POOLS]
    shipped: list[Runs] = []
    for pool in pools.values():
        shipped += _recorded(found, pool, scale, say)
    found.averages = averages(found.pools, found.mean_pools)
    counted = [each for each in shipped if each.pool in found.mean_pools]
    apart = [each for each in shipped if each.pool in found.biased_pools]
    found.confidence = bins_of(counted)
    for name in found.biased_pools:
        found.confidence += bins_of([each for each in apart if each.pool == name])
    flat = [pool for pool in pools.values() if not is_tree(pool)]
    for pool in flat:
        say(f"{pool.name}: all that its judge recorded")
        found.biases.append(measure_bias(pool, scale.half))
    _simulated(found, scale, say)
    _trust(found, flat, scale, say)
    _steps(found, scale, say)
    found.overhead = measure_overhead(turns=scale.turns, sizes=scale.sizes, progress=say)
    return found


def _collect(pool: Pool, wanted: Sequence[Entry], scale: Scale, say: Say) -> list[Runs]:
    is_simulated = isinstance(pool, SimulatedPool)
    seeds = 1 if is_simulated else scale.seeds
    prompts = len(pool.half(scale.half))
    say(f"{pool.name}: {len(wanted)} settings x {prompts} prompts x {seeds} seeds")
    return collect(pool, wanted, half=scale.half, seeds=seeds, workers=scale.workers)


def _recorded(found: Found, pool: Pool, scale: Scale, say: Say) -> list[Runs]:
    """Run everything on one pool, and return the runs of the presets' searches."""
    found.described[pool.name] = (pool.description, pool.cost_model)
    runs = _collect(pool, entries(pool, scale.caps), scale, say)
    rows = compare(runs)
    found.pools += rows
    if pool.name in found.mean_pools:
        fixed = [row for row in rows if row.policy == "listwise"]
        found.savings += [
            saving_of(fixed, row)
            for row in rows
            if row.policy == STOPPING or "min_gain" in row.policy
        ]
    return [each for each in runs if each.policy in PRESETS]


def _parts(runs: Sequence[Runs], names: Mapping[int, str]) -> list[list[Comparison]]:
    """Return the comparisons of each setting of a simulated pool, in order."""
    return [
        compare([each.part(SimulatedPool.prefix(place), name) for each in runs])
        for place, name in names.items()
    ]


def _simulated(found: Found, scale: Scale, say: Say) -> None:
    pool = SimulatedPool(GRID, scale.simulated_prompts)
    runs = _collect(pool, grid_entries(pool), scale, say)
    names = {place: f"simulated: {setting.name}" for place, setting in enumerate(GRID)}
    for rows in _parts(runs, names):
        found.grid += rows


def _steps(found: Found, scale: Scale, say: Say) -> None:
    for case in STEP_CASES if scale.puzzles else ():
        say(f"steps: {case.title}")
        rows = solved_shares(
            case, half=scale.half, max_puzzles=scale.puzzles, max_workers=scale.workers
        )
        found.step_tables.append(step_table(case, rows))
        found.step_claims += step_claims(case, rows)


def _trust(found: Found, pools: Sequence[Pool], scale: Scale, say: Say) -> None:
    settings: list[SimulatedSetting] = []
    for pool in pools:
        say(f"{pool.name}: its judge on the tuning half")
        figures = measured(pool)
        found.judges[pool.name] = figures
        settings.append(setting_like(figures))
    if not settings:
        return
    like = SimulatedPool(settings, scale.simulated_prompts, name="like the recorded pools")
    wanted = [
        Entry(policy, cap)
        for policy in TRUSTED
        for cap in (CLASSIC_CAPS if policy == "classic_uct" else scale.caps)
    ]
    runs = _collect(like, wanted, scale, say)
    simulated = _parts(runs, dict(enumerate(pool.name for pool in pools)))
    for pool, rows in zip(pools, simulated, strict=True):
        found.trust += trust_rows([row for row in found.pools if row.pool == pool.name], rows)
