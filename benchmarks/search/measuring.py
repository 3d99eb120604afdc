"""The stages of a run: what is measured, in which order, on what."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.search.calibrated import (
    JudgeFigures,
    TrustRow,
    measured,
    setting_like,
    trust_rows,
)
from benchmarks.search.collecting import Runs, collect
from benchmarks.search.comparing import Comparison, compare
from benchmarks.search.overhead import SIZES, StepCost, measure_overhead
from benchmarks.search.peers_treequest import REASON_ABSENT, is_installed
from benchmarks.search.pools import Half, Pool, PoolAbsent
from benchmarks.search.saving import CurvePoint, Saving, savings
from benchmarks.search.settings import (
    CAPS,
    CHECKED,
    CLASSIC_CAPS,
    FIXED_CAPS,
    GAIN_CAP,
    MIN_GAINS,
    MIXED_POOLS,
    POOLS,
    Entry,
    entries,
    grid_entries,
    is_tree,
)
from benchmarks.search.simulated import SimulatedPool
from benchmarks.search.simulated_setting import GRID, MIX, SimulatedSetting

__all__ = ["TRUSTED", "Found", "Scale", "measure"]

TRUSTED = ("classic_uct", "listwise", "best-of-N, plain", "best-of-N, packed")
"""Policies that are held against the simulator."""

BIASED_POOLS = ("humaneval", "humaneval-usable")
"""The pools whose judge is biased, so that asking it more might do harm."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Amount that is run.

    Args:
        half: of the recorded prompts.
        seeds: shuffles of each recorded prompt.
        simulated_prompts: of each simulated setting.
        caps: on recorded pools.
        turns: of the timing of steps.
        sizes: of trees whose steps are timed, in nodes.
        workers: processes.
    """

    half: Half = "reporting"
    seeds: int = 5
    simulated_prompts: int = 200
    caps: tuple[int, ...] = CAPS
    turns: int = 5
    sizes: tuple[int, ...] = SIZES
    workers: int = 2


@dataclass(slots=True)
class Found:
    """Everything that a run found.

    Args:
        absent: why a pool or a peer was not run, by key.
        described: description and cost model of each pool that was, by name.
        pools: comparisons with the classic search at 11, pool after pool.
        harmless: on the biased pools, policies at 16 compared with themselves at 4.
        grid: comparisons on the simulated grid, setting after setting.
        savings: by mix, the fixed plan's curve and what `min_gain` saves.
        judges: each flat pool's judge on the tuning half, by pool.
        trust: recorded and simulated.
        overhead: what a step costs.
    """

    absent: dict[str, str] = field(default_factory=dict)
    described: dict[str, tuple[str, str]] = field(default_factory=dict)
    pools: list[Comparison] = field(default_factory=list)
    harmless: list[Comparison] = field(default_factory=list)
    grid: list[Comparison] = field(default_factory=list)
    savings: dict[str, tuple[list[CurvePoint], list[Saving]]] = field(default_factory=dict)
    judges: dict[str, JudgeFigures] = field(default_factory=dict)
    trust: list[TrustRow] = field(default_factory=list)
    overhead: list[StepCost] = field(default_factory=list)


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
    for key, pool in pools.items():
        _recorded(found, key, pool, scale, say)
    mixed = [pools[key] for key in MIXED_POOLS if key in pools]
    if mixed:
        _save(found, "recorded mix", mixed, scale, say)
    _simulated(found, scale, say)
    _save(found, "simulated mix", _mix(scale), scale, say)
    _trust(found, [pool for pool in pools.values() if not is_tree(pool)], scale, say)
    found.overhead = measure_overhead(turns=scale.turns, sizes=scale.sizes, progress=say)
    return found


def _collect(pool: Pool, wanted: Sequence[Entry], scale: Scale, say: Say) -> list[Runs]:
    is_simulated = isinstance(pool, SimulatedPool)
    seeds = 1 if is_simulated else scale.seeds
    prompts = len(pool.half(scale.half))
    say(f"{pool.name}: {len(wanted)} settings x {prompts} prompts x {seeds} seeds")
    return collect(pool, wanted, half=scale.half, seeds=seeds, workers=scale.workers)


def _recorded(found: Found, key: str, pool: Pool, scale: Scale, say: Say) -> None:
    found.described[pool.name] = (pool.description, pool.cost_model)
    runs = _collect(pool, entries(pool, scale.caps), scale, say)
    found.pools += compare(runs)
    if key not in BIASED_POOLS:
        return
    for policy in (*CHECKED, *(f"{policy} by agreement" for policy in CHECKED)):
        own = [each for each in runs if each.policy == policy]
        found.harmless += [
            row for row in compare(own, baseline=(policy, 4)) if row.cap == 16 and row.claim
        ]


def gain_entries() -> list[Entry]:
    """Return the fixed plan by cap, and both policies with each value of `min_gain`."""
    fixed = [Entry("listwise", cap) for cap in FIXED_CAPS]
    return fixed + [
        Entry(policy, GAIN_CAP, min_gain=gain) for policy in CHECKED for gain in MIN_GAINS
    ]


def _mix(scale: Scale) -> list[Pool]:
    return [SimulatedPool([setting], scale.simulated_prompts, name=setting.name) for setting in MIX]


def _save(found: Found, name: str, pools: Sequence[Pool], scale: Scale, say: Say) -> None:
    runs = [each for pool in pools for each in _collect(pool, gain_entries(), scale, say)]
    fixed = [each for each in runs if each.min_gain is None]
    found.savings[name] = savings(fixed, [each for each in runs if each.min_gain is not None])


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
