"""The whole state of a posterior search, in memory and as plain JSON."""

import reprlib
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from lats.actions import Action, ActionId, ActionKind, Generate, JudgeList, Side, side_of
from lats.answers import MAX_TAG_CHARS, Draft, Drafts, NoAnswer, NodeId, Verdicts, cleaned_answer
from lats.judge_bias import MAX_READINGS, JudgeReading
from lats.policy import PolicyState, RoundProgress, SavedState, dump_state, read_state
from lats.posterior import NoiseModel
from lats.reflection import Guideline
from lats.result import StateError
from lats.search_knobs import SearchKnobs
from lats.search_tree import Count, SearchTree
from lats.similarity import identity_key
from lats.spending import Spend

__all__ = [
    "DEFAULT_CAP",
    "SearchProgress",
    "SearchState",
    "TaskTraits",
    "is_solution",
    "load_search",
    "save_search",
    "verified_score",
]

DEFAULT_CAP = 6
"""Calls of a search whose knobs name no cap."""

DEFAULT_CANDIDATES = 8
"""Candidates from scratch under a noisy judge, where the knobs name no limit."""

DEFAULT_PASSES = 4
"""Passes over the same candidates where a call may be spent on new ones below them, and the knobs
name no limit."""

MOST_PASSES = 64
"""Passes over the same candidates where all calls beyond the first go to passes."""

TREE_POLICIES = frozenset({"posterior_uct", "halving"})
"""Policies whose trees grow below answers too, unless the knobs say no."""


@dataclass(frozen=True, slots=True)
class TaskTraits:
    """Traits of a task that decide how its scores are read.

    Args:
        has_judge: whether a judge can be asked. Without one a verifier scores each draft when it
            is proposed, at no call, without noise or drift.
        has_verifier: whether drafts come with a verifier's result.
        score_range: worst and best score of the task's own scale; inside the search they are 0
            and 1.
    """

    has_judge: bool = True
    has_verifier: bool = False
    score_range: tuple[float, float] = (0.0, 1.0)


_PLAIN_TASK = TaskTraits()


def verified_score(draft: Draft) -> float | None:
    """Return the score that a verifier's result is, in [0, 1]; None where there is none."""
    return draft.passed if draft.verified is None else float(draft.verified)


def is_solution(draft: Draft, task: TaskTraits) -> bool:
    """Return whether a verifier leaves no better answer to look for.

    All checks passed are proof where there is no judge to tell such answers apart.
    """
    if draft.is_step or draft.verified is False:
        return False
    return bool(draft.verified) or (not task.has_judge and draft.passed == 1)


@dataclass(slots=True)
class SearchProgress(RoundProgress):
    """Progress of a posterior search.

    Args:
        planned_cap: calls it plans for, fixed by its first round; None before that.
        spent_calls: actions made, and repairs and retries that answers report on top.
        passes: times that the judge was to read candidates, however many calls each took.
        cycles: refinement rounds whose answers were applied.
        empty_rounds: latest rounds in a row whose proposers brought nothing at all.
        unjudged_rounds: latest rounds in a row whose judges gave nothing usable.
        is_refused: whether the budget refused a call. Then proposers are asked no more.
        is_exhausted: whether proposers seem to have nothing new to offer.
        has_steps: whether candidates are steps towards an answer.
        has_shallow_answer: whether an answer lies above the knob `max_depth`, a bound only then.
        survivors: candidates still in the running where a policy drops some.
        front: candidates with the best own values, the best first; kept only where there are
            too many candidates to rank them all each round.
        bracket: candidates still in a knock-out, paired in this order.
        losers: those of them whose own call in the latest round preferred the rival.
        champion: winner of the last knock-out that came to its end; None when there is none,
            or when it lost since. It is the answer then. So is one that a verifier found right.
        guidelines: those alive, the oldest first.
        proposer_calls: proposals asked of each proposer; none where proposers have no names.
    """

    planned_cap: int | None = None
    spent_calls: Count = 0
    generations: Count = 0
    passes: Count = 0
    cycles: Count = 0
    empty_rounds: Count = 0
    unjudged_rounds: Count = 0
    is_refused: bool = False
    is_exhausted: bool = False
    has_steps: bool = False
    has_shallow_answer: bool = False
    survivors: list[NodeId] = field(default_factory=list)
    front: list[NodeId] = field(default_factory=list)
    bracket: list[NodeId] = field(default_factory=list)
    losers: list[NodeId] = field(default_factory=list)
    champion: NodeId | None = None
    guidelines: tuple[Guideline, ...] = ()
    proposer_calls: dict[str, Count] = field(default_factory=dict)


class SearchState(PolicyState):
    """Everything that a posterior search remembers.

    `knobs` are the given ones as the policy uses them right now; `auto` sets them again for
    each round, from the rest of the state.

    Args:
        knobs: all settings.
        start: the draft that candidates from scratch descend from.
        guidelines: of earlier turns, aged.
        task: traits of the task.
        proposers: relative cost of a call of each proposer, by name; none where there is only
            one, without a name.
        judges: names of several judges; none where there is one.

    Attributes:
        readings: judge calls with their scores as they came, at most `MAX_READINGS`.
        unverified: drafts of open actions that wait for their verifier.
    """

    progress: SearchProgress

    def __init__(
        self,
        knobs: SearchKnobs,
        start: Draft,
        *,
        guidelines: tuple[Guideline, ...] = (),
        task: TaskTraits = _PLAIN_TASK,
        judges: tuple[str, ...] = (),
        proposers: Mapping[str, float] | None = None,
    ) -> None:
        self.given_knobs = knobs
        self.knobs = knobs
        self.tree = SearchTree(start, identity_key)
        self.task = task
        self.spend = Spend()
        self.noise = NoiseModel(knobs.judge_reliability, is_exact=self.is_exact)
        self.progress = SearchProgress(guidelines=guidelines)
        self.judges = judges
        self.readings: list[JudgeReading] = []
        self.unverified: dict[ActionId, Drafts] = {}
        self.proposers = dict(proposers or {})
        self.weights: Mapping[str, float] = knobs.attribute_weights

    @property
    def cap(self) -> int:
        """Calls that the knobs allow."""
        cap = self.given_knobs.max_calls
        return DEFAULT_CAP if cap is None else cap

    @property
    def is_exact(self) -> bool:
        """Whether scores have neither noise nor drift: a verifier gives them."""
        return self.given_knobs.stop_score == 1 or not self.task.has_judge

    @property
    def is_solved(self) -> bool:
        """Whether a verifier has nothing to object to the answer."""
        champion = self.progress.champion
        return champion is not None and is_solution(self.tree.nodes[champion].draft, self.task)

    @property
    def min_gain(self) -> float:
        """Gain below which the search stops, in SDs of a call's scores; 0 spends the cap."""
        return 0.0 if self.knobs.judging == "agreement" else self.knobs.min_gain or 0.0

    @property
    def max_candidates(self) -> int:
        """Candidates from scratch after which no more are asked for."""
        if self.knobs.judging == "agreement" or (self.is_exact and not self.knobs.max_candidates):
            return sys.maxsize
        return self.knobs.max_candidates or DEFAULT_CANDIDATES

    @property
    def max_passes(self) -> int:
        """Times that the judge may read the same candidate."""
        if self.knobs.judging == "agreement":
            return self.cap
        if self.knobs.max_passes is not None:
            return self.knobs.max_passes
        grows = self.may_refine or self.progress.has_steps or self.knobs.policy in TREE_POLICIES
        return DEFAULT_PASSES if grows else min(self.cap, MOST_PASSES)

    @property
    def may_refine(self) -> bool:
        """Whether answers may be improved on; next steps are no such improvements."""
        if self.knobs.refine is not None:
            return self.knobs.refine
        return self.is_exact or self.knobs.policy in TREE_POLICIES

    @property
    def takes_steps(self) -> bool:
        """Whether candidates are steps towards an answer, as far as that is known by now."""
        if len(self.tree):
            return self.progress.has_steps
        return self.knobs.max_depth is not None or self.tree.top.draft.is_step

    def generate(self, counts: Iterable[int]) -> list[Action]:
        """Return the next generations, each of as many candidates as its count."""
        made, texts = self.progress.generations, self.guideline_texts
        return [Generate(k, made + place, texts) for place, k in enumerate(counts)]

    @property
    def guideline_texts(self) -> tuple[str, ...]:
        """Texts of the guidelines alive."""
        return tuple(each.text for each in self.progress.guidelines)


def _is_empty(values: Sequence[object]) -> bool:
    return not values


_Name = Annotated[str, Field(min_length=1, max_length=MAX_TAG_CHARS)]
_Cost = Annotated[float, Field(gt=0)]


class _Saved(SavedState):
    knobs: SearchKnobs
    noise: NoiseModel
    progress: SearchProgress
    task: TaskTraits = Field(default=_PLAIN_TASK, exclude_if=lambda task: task == _PLAIN_TASK)
    spend: Spend = Field(default_factory=Spend, exclude_if=lambda spend: not spend.by_side)
    judges: tuple[_Name, ...] = Field(default=(), exclude_if=_is_empty)
    readings: list[JudgeReading] = Field(
        default_factory=list, max_length=MAX_READINGS, exclude_if=_is_empty
    )
    proposers: dict[_Name, _Cost] = Field(default={}, exclude_if=lambda costs: not costs)
    unverified: dict[ActionId, Drafts] = Field(default={}, exclude_if=lambda drafts: not drafts)


def save_search(state: SearchState) -> dict[str, Any]:
    """Return a state as plain JSON, the same however the answers were ordered."""
    return dump_state(
        _Saved(
            policy=state.given_knobs.policy,
            knobs=state.given_knobs,
            nodes=list(state.tree.nodes.values()),
            noise=state.noise,
            progress=state.progress,
            task=state.task,
            spend=state.spend,
            judges=state.judges,
            readings=state.readings,
            proposers=state.proposers,
            unverified=dict(sorted(state.unverified.items())),
        )
    )


def load_search(raw: Mapping[str, Any]) -> SearchState:
    """Return a saved state.

    Raises:
        StateError: when it is of another version or policy, or broken.
    """
    saved = read_state(_Saved, raw)
    for name in ("nodes", "noise", "progress", "readings", "spend"):
        _check_sizes(raw.get(name), name)
    if saved.policy != saved.knobs.policy:
        raise StateError(f"a state of {saved.policy!r} has knobs of {saved.knobs.policy!r}")
    try:
        tree = SearchTree.restored(saved.nodes, identity_key, has_start=True)
        _check_ids(saved.progress, tree)
        _check_round(saved.progress)
        _check_figures(saved.progress, tree)
        _check_unverified(saved.progress, saved.unverified)
        _check_readings(saved.readings, len(tree.nodes))
        _check_proposers(saved.progress, saved.proposers)
        _check_judges(saved.progress, saved.judges)
    except ValueError as error:
        raise StateError(f"broken state of a search: {error}") from error
    state = SearchState(
        saved.knobs,
        tree.top.draft,
        task=saved.task,
        proposers=saved.proposers,
        judges=saved.judges,
    )
    state.readings = saved.readings
    state.tree, state.noise, state.progress = tree, saved.noise, saved.progress
    state.spend = saved.spend
    for action_id, drafts in saved.unverified.items():
        if isinstance(cleaned := cleaned_answer(action_id, drafts), Drafts):
            state.unverified[action_id] = cleaned
    return state


def _check_ids(progress: SearchProgress, tree: SearchTree) -> None:
    named = [*progress.survivors, *progress.front, *progress.bracket, *progress.losers]
    named += [] if progress.champion is None else [progress.champion]
    for action in progress.open_round:
        if not isinstance(action, Generate):
            if not action.node_ids:
                raise StateError(f"an action of kind {action.kind} names no candidate")
            named += action.node_ids
    unknown = sorted(set(named) - tree.nodes.keys())
    if unknown:
        raise StateError(f"candidate {unknown[0]} is not there")


def _check_readings(readings: list[JudgeReading], nodes: int) -> None:
    for reading in readings:
        if reading.scores and len(reading.scores) != len(reading.births):
            raise StateError("a judge call has more or fewer scores than candidates")
        if any(birth >= nodes for birth in reading.births):
            raise StateError("a judge call read a candidate that is not there")


def _check_round(progress: SearchProgress) -> None:
    """Check that the open round can be answered to its end."""
    asked = {action.action_id: side_of(action.label) for action in progress.open_round}
    if len(asked) < len(progress.open_round) or asked.keys() & progress.closed_ids:
        raise StateError("an action of the open round is listed twice")
    for action_id, answer in progress.told.items():
        if action_id not in asked:
            raise StateError(f"{action_id!r} was told, not asked")
        wanted = Drafts if asked[action_id] is Side.PROPOSER else Verdicts
        if not isinstance(answer, wanted | NoAnswer):
            raise StateError(f"{action_id!r} was told {answer.kind}")
    if asked and len(progress.told) >= len(asked):
        raise StateError("all actions of the open round are answered")


MAX_FIGURE = 10**24
"""Largest figure of a saved search but for those of knobs and tasks, which have their ranges."""


def _check_figures(progress: SearchProgress, tree: SearchTree) -> None:
    """Check that counts go together: a search that forgot its calls would pass its cap."""
    asked = progress.asked
    if min([0, *asked.values(), *progress.failed.values()]) < 0:
        raise StateError("a count of actions is below 0")
    if progress.spent_calls < sum(asked.values()):
        raise StateError(
            f"spent_calls is {progress.spent_calls}, but {sum(asked.values())} actions were asked"
        )
    for name, kind in (
        ("judge_calls", ActionKind.JUDGE_LIST),
        ("generations", ActionKind.GENERATE),
    ):
        if getattr(progress, name) < asked.get(kind, 0):
            raise StateError(f"{name} is {getattr(progress, name)}, less than were asked")
    for action in progress.open_round:
        if not isinstance(action, JudgeList) and (action.k < 1 or action.attempt < 0):
            raise StateError(f"{action.action_id!r} asks for {action.k} candidates")
    ids = [*progress.closed_ids, *(action.action_id for action in progress.open_round)]
    refined = Counter(each.split(":")[1] for each in ids if each.startswith("refine:"))
    for node_id, count in refined.items():
        node = tree.nodes.get(NodeId(node_id))
        if node is not None and node.expansions < count:
            raise StateError(f"candidate {node_id} was refined more often than its expansions")


def _check_sizes(raw: Any, place: str) -> None:
    """Check that no figure is beyond all that a search comes to."""
    if isinstance(raw, Mapping):
        for name, value in raw.items():
            if name not in {"payload", "attributes"}:
                _check_sizes(value, f"{place}.{name}")
    elif isinstance(raw, list | tuple):
        for value in raw:
            _check_sizes(value, place)
    elif isinstance(raw, int | float) and abs(raw) > MAX_FIGURE:
        raise StateError(f"broken state of a search: {place} is {reprlib.repr(raw)}")


def _check_unverified(progress: SearchProgress, unverified: Mapping[ActionId, Drafts]) -> None:
    """Check that drafts without a result are of proposals that wait."""
    proposing = {each.action_id for each in progress.open_round if not isinstance(each, JudgeList)}
    unknown = sorted(unverified.keys() - (proposing - progress.told.keys()))
    if unknown:
        raise StateError(f"{unknown[0]!r} has drafts to verify, but does not wait for them")


def _check_proposers(progress: SearchProgress, proposers: Mapping[str, float]) -> None:
    """Check that calls and actions name proposers that there are."""
    proposing = [each for each in progress.open_round if not isinstance(each, JudgeList)]
    named = {*progress.proposer_calls, *[action.proposer for action in proposing]}
    unknown = sorted(named - ({*proposers} or {""}))
    if unknown:
        raise StateError(f"proposer {unknown[0]!r} is none of {sorted(proposers)}")


def _check_judges(progress: SearchProgress, judges: tuple[str, ...]) -> None:
    """Check that judge calls of the open round name judges that there are."""
    named = {action.judge for action in progress.open_round if isinstance(action, JudgeList)}
    unknown = sorted(named - ({*judges} or {""}))
    if unknown:
        raise StateError(f"judge {unknown[0]!r} is none of {list(judges)}")
