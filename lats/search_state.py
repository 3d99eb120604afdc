"""The whole state of a posterior search, in memory and as plain JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lats.actions import Action, ActionId, ActionKind, Generate, JudgeList, Refine, Side, side_of
from lats.answers import Draft, Drafts, NoAnswer, NodeId, Verdicts
from lats.policy import read_state
from lats.posterior import NoiseModel
from lats.reflection import Guideline
from lats.result import StateError, StopReason
from lats.search_knobs import SearchKnobs
from lats.search_tree import Candidate, SearchTree
from lats.similarity import identity_key

__all__ = ["DEFAULT_CAP", "SearchProgress", "SearchState", "load_search", "save_search"]

STATE_VERSION = 2
"""Changes when a state of an earlier version could no longer be read."""

DEFAULT_CAP = 6
"""Calls of a search whose knobs name no cap."""

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

SavedAction = Annotated[Generate | Refine | JudgeList, Field(discriminator="kind")]
SavedTold = Annotated[Drafts | Verdicts | NoAnswer, Field(discriminator="kind")]


@dataclass(slots=True)
class SearchProgress:
    """How far a search is.

    Args:
        planned_cap: calls it plans for, fixed by its first round; None before that.
        spent_calls: calls so far: actions made, and what answers said they took on top.
        open_round: the round under way, in the order in which its answers are taken in.
        told: answers to the open round, until all are there.
        closed_ids: actions of earlier rounds. Telling one again is ignored.
        generations: `Generate` actions made.
        judge_calls: `JudgeList` actions made.
        passes: times that the judge was to read candidates, however many calls each took.
        cycles: refinement rounds taken in.
        empty_rounds: latest rounds in a row whose proposers brought nothing at all.
        unjudged_rounds: latest rounds in a row whose judges said nothing usable.
        is_refused: whether the budget refused a call. Then proposers are asked no more.
        is_exhausted: whether proposers seem to have nothing new to offer.
        has_steps: whether candidates are steps towards an answer.
        survivors: candidates still in the running where a policy drops some.
        front: candidates with the best own values, the best first; kept only where there are
            too many candidates to rank them all each round.
        bracket: candidates still in a knock-out, paired in this order.
        losers: those of them whose own call in the round just taken in preferred the rival.
        champion: who won the last knock-out that came to its end; None when there is none, or
            when it lost since. It is the answer then.
        guidelines: those alive, the oldest first.
        rounds: rounds made.
        asked: actions made, by kind.
        failed: actions told as failed or refused, by kind.
        stop_reason: why it stopped; None while it has not.
    """

    planned_cap: int | None = None
    spent_calls: int = 0
    open_round: list[SavedAction] = field(default_factory=list)
    told: dict[ActionId, SavedTold] = field(default_factory=dict)
    closed_ids: set[ActionId] = field(default_factory=set)
    generations: int = 0
    judge_calls: int = 0
    passes: int = 0
    cycles: int = 0
    empty_rounds: int = 0
    unjudged_rounds: int = 0
    is_refused: bool = False
    is_exhausted: bool = False
    has_steps: bool = False
    survivors: list[NodeId] = field(default_factory=list)
    front: list[NodeId] = field(default_factory=list)
    bracket: list[NodeId] = field(default_factory=list)
    losers: list[NodeId] = field(default_factory=list)
    champion: NodeId | None = None
    guidelines: tuple[Guideline, ...] = ()
    rounds: int = 0
    asked: dict[ActionKind, int] = field(default_factory=dict)
    failed: dict[ActionKind, int] = field(default_factory=dict)
    stop_reason: StopReason | None = None


class SearchState:
    """Everything a posterior search remembers. No clock, no generator.

    `knobs` are the given ones as the policy uses them right now; `auto` sets them again for
    each round, from the rest of the state.

    Args:
        knobs: all settings.
        start: what candidates from scratch start from.
        guidelines: of earlier turns, aged.
    """

    def __init__(
        self, knobs: SearchKnobs, start: Draft, *, guidelines: tuple[Guideline, ...] = ()
    ) -> None:
        self.given_knobs = knobs
        self.knobs = knobs
        self.tree = SearchTree(start, identity_key)
        self.noise = NoiseModel(knobs.judge_reliability)
        self.progress = SearchProgress(guidelines=guidelines)
        self.weights: Mapping[str, float] = knobs.attribute_weights

    @property
    def cap(self) -> int:
        """Calls that the knobs allow."""
        cap = self.given_knobs.max_calls
        return DEFAULT_CAP if cap is None else cap

    @property
    def min_gain(self) -> float:
        """Gain below which the search stops, in score a call; 0 spends the cap."""
        return 0.0 if self.knobs.judging == "agreement" else self.knobs.min_gain or 0.0

    def nodes(self, ids: list[NodeId] | tuple[NodeId, ...]) -> list[Candidate]:
        """Return candidates by id."""
        return [self.tree.nodes[node_id] for node_id in ids]


class _Saved(BaseModel):
    """A state as it is written."""

    model_config = _STRICT

    version: Literal[2] = 2
    policy: str
    knobs: SearchKnobs
    nodes: list[Candidate]
    noise: NoiseModel
    progress: SearchProgress


def save_search(state: SearchState) -> dict[str, Any]:
    """Return a state as plain JSON, the same however the answers were ordered."""
    saved = _Saved(
        policy=state.given_knobs.policy,
        knobs=state.given_knobs,
        nodes=list(state.tree.nodes.values()),
        noise=state.noise,
        progress=state.progress,
    ).model_dump(mode="json")
    saved["progress"]["closed_ids"] = sorted(saved["progress"]["closed_ids"])
    saved["progress"]["told"] = dict(sorted(saved["progress"]["told"].items()))
    return saved


def load_search(raw: Mapping[str, Any]) -> SearchState:
    """Return a saved state.

    Raises:
        StateError: when it is of another version or policy, or broken.
    """
    saved = read_state(_Saved, raw, version=STATE_VERSION)
    try:
        tree = SearchTree.restored(saved.nodes, identity_key, has_start=True)
    except ValueError as error:
        raise StateError(f"broken state of a search: {error}") from error
    if saved.policy != saved.knobs.policy:
        raise StateError(f"a state of {saved.policy!r} has knobs of {saved.knobs.policy!r}")
    state = SearchState(saved.knobs, tree.top.draft)
    state.tree, state.noise, state.progress = tree, saved.noise, saved.progress
    _check_ids(state)
    _check_round(state)
    _check_counts(state)
    return state


def _ids_of(action: Action) -> tuple[NodeId, ...]:
    return () if isinstance(action, Generate) else action.node_ids


def _check_ids(state: SearchState) -> None:
    progress = state.progress
    named = [*progress.survivors, *progress.front, *progress.bracket, *progress.losers]
    named += [] if progress.champion is None else [progress.champion]
    for action in progress.open_round:
        named += _ids_of(action)
    unknown = sorted(set(named) - state.tree.nodes.keys())
    if unknown:
        raise StateError(f"broken state of a search: candidate {unknown[0]} is not there")


def _check_round(state: SearchState) -> None:
    """Check that the open round can be told to its end."""
    progress = state.progress
    for action in progress.open_round:
        if not isinstance(action, Generate) and not action.node_ids:
            raise StateError(
                f"broken state of a search: an action of kind {action.kind} names no candidate"
            )
    asked = {action.action_id: side_of(action.label) for action in progress.open_round}
    if len(asked) < len(progress.open_round) or asked.keys() & progress.closed_ids:
        raise StateError("broken state of a search: an action of the open round is listed twice")
    if asked and len(progress.told) >= len(asked):
        raise StateError("broken state of a search: its open round is told to its end")
    for action_id, answer in progress.told.items():
        if action_id not in asked:
            raise StateError(f"broken state of a search: {action_id!r} was told, not asked")
        wanted = Drafts if asked[action_id] is Side.PROPOSER else Verdicts
        if not isinstance(answer, wanted | NoAnswer):
            raise StateError(f"broken state of a search: {action_id!r} was told {answer.kind}")


_COUNTS = ("score_count", "judge_passes", "expansions", "visits", "pending_visits")
_PROGRESS_COUNTS = (
    "spent_calls",
    "generations",
    "judge_calls",
    "passes",
    "cycles",
    "rounds",
    "empty_rounds",
    "unjudged_rounds",
)


def _check_counts(state: SearchState) -> None:
    """Check that nothing was counted below 0: a cap would be passed by it."""
    owners: list[tuple[str, object, tuple[str, ...]]] = [
        (f"candidate {node.node_id}", node, _COUNTS) for node in state.tree.nodes.values()
    ]
    owners.append(("progress", state.progress, _PROGRESS_COUNTS))
    weights = ("spread_sum", "spread_weight", "noise_sum", "noise_weight", "mean_count")
    owners.append(("noise", state.noise, weights))
    for owner, record, names in owners:
        for name in names:
            if getattr(record, name) < 0:
                raise StateError(
                    f"broken state of a search: {owner} has {name} {getattr(record, name)}"
                )
    if not 0 < state.noise.prior_reliability < 1:
        raise StateError(
            f"broken state of a search: prior_reliability is {state.noise.prior_reliability}"
        )
