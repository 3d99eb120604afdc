"""Runs: policies, caps, and the knobs that each policy gets at a cap.

The presets are run as they are shipped: their search's knobs are read from their files, and
nothing but the seed is changed, except that a pool of steps sets how many steps there are and
how many a request asks for. What they read of a judge that no pool's judge gives (sub-scores
of the reply, by which a search may end early or scores are weighted) is missing, as it would
be from a judge that left it out.

Policies by themselves get their defaults and a cap. The classic search has no cap: it gets as
many rollouts as fit, so at 11 it is the specification's shape. Early exit is off for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from types import MappingProxyType
from typing import Any

from benchmarks.search.game24 import load_game24
from benchmarks.search.humaneval import HumanEval, load_humaneval
from benchmarks.search.peers_best_of_n import (
    adaptive_best_of_n,
    packed_best_of_n,
    plain_best_of_n,
)
from benchmarks.search.peers_treequest import is_installed, treequest_ab_mcts_a, treequest_mcts
from benchmarks.search.pools import Pool, PoolPrompt
from benchmarks.search.running import Run
from benchmarks.search.summeval import load_summeval
from benchmarks.search.topical_chat import TopicalChat, load_topical_chat
from callwise.knobs import load_preset, validate
from callwise.shipped import configs_folder
from graph.settings import PipelineSettings
from lats.search_knobs import EarlyExitKnobs, SearchKnobs

__all__ = [
    "BIASED_POOLS",
    "CAPS",
    "CLAIMED_GAIN",
    "CLASSIC_CAPS",
    "GAIN_CAP",
    "GRID_CAPS",
    "MEAN_POOLS",
    "MIN_GAINS",
    "OURS",
    "PEERS",
    "PEER_CAPS",
    "POOLS",
    "PRESETS",
    "Entry",
    "entries",
    "gain_entry",
    "grid_entries",
    "is_tree",
    "knobs_for",
    "peers_for",
    "preset_knobs",
    "shipped_entries",
]

CAPS = (2, 3, 4, 6, 8, 11, 16)
"""Requests at which policies are run on recorded pools."""

CLASSIC_CAPS = (5, 7, 11, 15)
"""The same for `classic_uct`: a root, its judge, 1, 2, 4 or 6 rollouts and the re-judge."""

GRID_CAPS = (3, 6, 11)
"""Requests at which policies are run on the simulated grid."""

OURS = ("classic_uct", "best_of_n", "listwise", "halving", "posterior_uct", "auto")
"""Policies of `lats`."""

PRESETS = ("frugal", "balanced", "thorough")
"""Presets that search by a policy of few calls, from the smallest on."""

POOLS: Mapping[str, Callable[[], Pool]] = MappingProxyType(
    {
        "topical-all": partial(load_topical_chat, "engagingness"),
        "topical-machine": partial(load_topical_chat, "engagingness", is_machine_only=True),
        "topical-rubric": partial(load_topical_chat, "rubric"),
        "topical-rotating": partial(load_topical_chat, "rotating"),
        "topical-weak": partial(load_topical_chat, "weak"),
        "summeval-gpt35": partial(load_summeval, "gpt35"),
        "summeval-llama": partial(load_summeval, "llama"),
        "summeval-all": partial(load_summeval, "all"),
        "humaneval": load_humaneval,
        "humaneval-usable": partial(load_humaneval, is_usable_only=True),
        "game24": load_game24,
    }
)
"""Recorded pools by key, each with what loads it."""

BIASED_POOLS = ("humaneval", "humaneval-usable")
"""Pools whose judge prefers what shares its mistakes: shown apart, and in no mean."""

MEAN_POOLS = tuple(key for key in POOLS if key not in (*BIASED_POOLS, "game24"))
"""Pools of whole answers with a judge that is not known to be biased: means are over these."""

GAIN_CAP = 16
"""Cap of the searches with `min_gain`: far enough that stopping is what ends them."""

MIN_GAINS = (0.02, 0.05, 0.1, 0.2)
"""Values of the knob between quality and calls, in standard deviations of a judge call's scores."""

CLAIMED_GAIN = 0.05
"""The one of these whose saving is claimed; chosen on the tuning halves."""

PEER_CAPS = (6, 11)
"""Requests at which peers are run on the simulated grid."""

Peer = Callable[[PoolPrompt, int], Run]

PEERS: Mapping[str, Peer] = MappingProxyType(
    {
        "treequest StandardMCTS": treequest_mcts,
        "treequest AB-MCTS-A": treequest_ab_mcts_a,
        "best-of-N, plain": plain_best_of_n,
        "best-of-N, packed": packed_best_of_n,
        "best-of-N, adaptive": adaptive_best_of_n,
    }
)
"""Peers by label: a fresh prompt and a cap -> a run."""

_NEEDS_TREEQUEST = frozenset(label for label in PEERS if label.startswith("treequest"))


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the table before it is run. Plain data: it may cross to another process.

    Args:
        policy: a label of `OURS`, `PEERS` or `PRESETS`.
        cap: requests that it may make.
        words: that follow the policy's name where knobs are changed or rules have a say.
        changes: knobs that differ, as pairs of name and value.
        has_rules: whether the rules about replies have a say, as in the pipeline.
    """

    policy: str
    cap: int
    words: str = ""
    changes: tuple[tuple[str, Any], ...] = ()
    has_rules: bool = False

    @property
    def label(self) -> str:
        """For a table."""
        return f"{self.policy}{self.words}"


@cache
def preset_knobs(preset: str) -> SearchKnobs:
    """Return the search's knobs of a shipped preset, whatever the environment sets."""
    data = load_preset(preset, configs_folder())
    return validate(PipelineSettings, data).search


def knobs_for(entry: Entry, pool: Pool) -> SearchKnobs:
    """Return a policy's knobs at a cap.

    A preset's are its own; a policy's are defaults. Both with what follows from the task, and
    what the entry changes.

    Raises:
        ValueError: when it is none of our policies, or the cap is not the preset's.
    """
    if entry.policy in PRESETS:
        preset = preset_knobs(entry.policy)
        if preset.max_calls != entry.cap:
            raise ValueError(f"{entry.policy} has a cap of {preset.max_calls}, not {entry.cap}")
        given = preset.model_dump(exclude_unset=True)
    elif entry.policy in OURS:
        given = {"policy": entry.policy, "max_calls": entry.cap}
    else:
        raise ValueError(f"{entry.policy!r} is none of {', '.join((*OURS, *PRESETS))}")
    if entry.policy == "classic_uct":
        given["rollouts"] = max((entry.cap - 3) // 2, 0)
        given["early_exit"] = EarlyExitKnobs(enabled=False)
    given["rubrics"] = pool.rubrics
    return SearchKnobs(**{**given, **pool.task_knobs, **dict(entry.changes)})


def grid_entries(pool: Pool) -> list[Entry]:
    """Return what is run on the simulated grid, whose cells are many.

    Without `halving`, which is `listwise` above 10 requests and no other tree below.
    """
    found = [Entry("classic_uct", 11)]
    found += [Entry(policy, cap) for policy in OURS[1:] if policy != "halving" for cap in GRID_CAPS]
    return found + [Entry(policy, cap) for policy in peers_for(pool) for cap in PEER_CAPS]


def is_tree(pool: Pool) -> bool:
    """Return whether a pool's candidates are steps, so that an answer takes several."""
    return pool.task_knobs.get("max_depth") is not None


def peers_for(pool: Pool) -> list[str]:
    """Return the peers that can run on a pool on this machine.

    Best-of-N has no notion of steps; treequest must be installed.
    """
    labels = [label for label in PEERS if is_installed() or label not in _NEEDS_TREEQUEST]
    return [label for label in labels if not is_tree(pool) or label in _NEEDS_TREEQUEST]


def shipped_entries() -> list[Entry]:
    """Return the presets' searches, each at its own cap.

    Raises:
        ValueError: when a preset leaves the cap open.
    """
    found = []
    for preset in PRESETS:
        cap = preset_knobs(preset).max_calls
        if cap is None:
            raise ValueError(f"the preset {preset!r} has no search.max_calls")
        found.append(Entry(preset, cap))
    return found


def gain_entry(gain: float) -> Entry:
    """Return the `listwise` search that stops by this gain."""
    return Entry("listwise", GAIN_CAP, f", min_gain {gain:g}", (("min_gain", gain),))


_AGREEMENT = (("judging", "agreement"),)
_MANY = (
    ("judging", "listwise"),
    ("generate_k", 32),
    ("max_candidates", 64),
    ("max_items", 64),
)


def entries(pool: Pool, caps: Sequence[int] = CAPS) -> list[Entry]:
    """Return everything that is run on a pool at these caps, the presets first."""
    found = shipped_entries()
    found += [Entry("classic_uct", cap) for cap in CLASSIC_CAPS if cap <= max(*caps, 11)]
    for policy in (*OURS[1:], *peers_for(pool)):
        found += [Entry(policy, cap) for cap in caps]
    if isinstance(pool, HumanEval):  # the one whose judge gives checks, and is biased
        for words, changes in ((" by agreement", _AGREEMENT), (", 32 per request", _MANY)):
            found += [Entry("listwise", cap, words, changes) for cap in caps]
    elif not is_tree(pool):
        found += [gain_entry(gain) for gain in MIN_GAINS]
    if isinstance(pool, TopicalChat):  # the one whose candidates are replies
        ruled = [Entry("classic_uct", 11), *shipped_entries()]
        found += [Entry(each.policy, each.cap, ", with rules", has_rules=True) for each in ruled]
    return found
