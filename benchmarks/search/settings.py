"""Runs: policies, caps, and the knobs that each policy gets at a cap.

Our own policies get their defaults and a cap. Early exit is off for all, since its gates
read sub-scores that no pool's judge gives. The classic search has no cap: it
gets as many rollouts as fit, so at 11 it is the specification's shape.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
from benchmarks.search.topical_chat import load_topical_chat
from lats.search_knobs import EarlyExitKnobs, SearchKnobs

__all__ = [
    "CAPS",
    "CHECKED",
    "CLASSIC_CAPS",
    "FIXED_CAPS",
    "GAIN_CAP",
    "GRID_CAPS",
    "HEADLINE_MIN_GAIN",
    "MIN_GAINS",
    "MIXED_POOLS",
    "OURS",
    "PEERS",
    "PEER_CAPS",
    "POOLS",
    "Entry",
    "entries",
    "grid_entries",
    "is_tree",
    "knobs_for",
    "peers_for",
]

CAPS = (1, 2, 3, 4, 5, 6, 8, 11, 16)
"""Requests at which policies are run on recorded pools."""

CLASSIC_CAPS = (5, 7, 11, 15)
"""The same for `classic_uct`: a root, its judge, 1, 2, 4 or 6 rollouts and the re-judge."""

GRID_CAPS = (3, 6, 11)
"""Requests at which policies are run on the simulated grid."""

OURS = ("classic_uct", "best_of_n", "listwise", "halving", "posterior_uct", "auto")
"""Policies of `lats`."""

CHECKED = ("listwise", "auto")
"""Policies that are run by agreement as well, where a judge gives checks."""

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

MIXED_POOLS = ("topical-all", "topical-machine", "humaneval")
"""Recorded pools whose prompts make the mix of easy and hard ones: each kind of candidate
once, and no trees, since the plan by cap is one for answers."""

FIXED_CAPS = (2, 3, 4, 5, 6, 8, 10)
"""Caps of the fixed plan that `min_gain` is held against."""

MIN_GAINS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06)
"""Values of the knob between quality and calls, in score a call."""

PEER_CAPS = (6, 11)
"""The same for peers."""

HEADLINE_MIN_GAIN = 0.04
"""The value whose saving is claimed. Chosen on the tuning half, before any reporting run."""

GAIN_CAP = 10
"""Cap of the searches with `min_gain`; the largest that `listwise` plans by itself."""

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
        policy: a label of `OURS` or `PEERS`.
        cap: requests that it may make.
        min_gain: of the knobs; None leaves the policy's own.
        by_agreement: whether candidates are compared by the checks that they pass together.
    """

    policy: str
    cap: int
    min_gain: float | None = None
    by_agreement: bool = False

    @property
    def label(self) -> str:
        """For a table."""
        words = f"{self.policy} by agreement" if self.by_agreement else self.policy
        return words if self.min_gain is None else f"{words}, min_gain {self.min_gain:g}"


def knobs_for(entry: Entry, pool: Pool) -> SearchKnobs:
    """Return a policy's knobs at a cap: defaults, and what follows from the task.

    Raises:
        ValueError: when it is none of our policies.
    """
    if entry.policy not in OURS:
        raise ValueError(f"{entry.policy!r} is none of {', '.join(OURS)}")
    given: dict[str, Any] = {
        "policy": entry.policy,
        "max_calls": entry.cap,
        "early_exit": EarlyExitKnobs(enabled=False),
        "rubrics": pool.rubrics,
        **pool.task_knobs,
    }
    if entry.policy == "classic_uct":
        given["rollouts"] = max((entry.cap - 3) // 2, 0)
    if entry.by_agreement:
        given["judging"] = "agreement"
    if entry.min_gain is not None:
        given["min_gain"] = entry.min_gain
    return SearchKnobs(**given)


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


def entries(pool: Pool, caps: Sequence[int] = CAPS) -> list[Entry]:
    """Return everything that is run on a pool at these caps."""
    found = [Entry("classic_uct", cap) for cap in CLASSIC_CAPS if cap <= max(*caps, 11)]
    for policy in (*OURS[1:], *peers_for(pool)):
        found += [Entry(policy, cap) for cap in caps]
    if isinstance(pool, HumanEval):  # the one whose judge gives checks
        found += [Entry(policy, cap, by_agreement=True) for policy in CHECKED for cap in caps]
    return found
