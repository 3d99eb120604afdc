"""The search node: drives a tree search, a round of calls at a time.

The search itself (`lats`) knows no model. This node turns its actions into calls, asks a
whole round at once, and tells the search what came. How many calls of a round travel
together is the search's knob, so the round's size is the limit on concurrency.

The search counts actions. A scope counts more: repairs are calls, and retries are requests.
So that the cap includes them, it is a limit of the search's scope, and before each round the
search reads how much of it remains and winds down rather than be refused. The repairs of a
round come out of what its own calls leave of that.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from callwise.calls.call import Role
from callwise.calls.client import LLM, Remaining
from callwise.calls.errors import CallError
from lats.actions import Action, ActionKind, Side, side_of
from lats.answers import MAX_REPLY_CHARS, ActionAnswer, Draft, clean_text
from lats.policies import start_search
from lats.policy import RemainingCalls, SearchPolicy, drive
from lats.ranking import is_judged
from lats.reflection import Guideline, aged_guidelines
from lats.result import SearchResult, StopReason
from lats.rule_score import ReplyContext
from lats.search_knobs import SearchKnobs, with_stage
from lats.search_state import DEFAULT_CAP
from lats.similarity import text_key
from nodes.bubbles import timed_bubbles
from nodes.question import degradation_of
from nodes.records import Bubble, Degradation, StyleVector
from nodes.search.action_answers import answer_to
from nodes.search.action_calls import call_for, goal_of
from nodes.search.judge_rubrics import check_judging
from nodes.search_material import SearchMaterial

__all__ = [
    "MAX_PLANNED_BUBBLES",
    "UNBOUNDED",
    "SearchLimits",
    "SearchOutcome",
    "outcome_of",
    "planned_bubbles",
    "remaining_calls",
    "repairs_within",
    "run_search",
    "search_bounds",
    "search_reply",
]


MAX_PLANNED_BUBBLES = 12
"""A reply that was cut into more bubbles is cut by rule."""


def planned_bubbles(draft: Draft, style: StyleVector) -> tuple[Bubble, ...] | None:
    """Return the bubbles that a model cut its reply into, or None where they cannot be used.

    Args:
        draft: the reply; its payload has what came with it.
        style: sets their delays.
    """
    raw = draft.payload.get("bubbles")
    if not isinstance(raw, list):
        return None
    texts = [text for text in (clean_text(each, MAX_REPLY_CHARS) for each in raw) if text]
    if not _says_the_reply(texts, draft.reply):
        return None
    return timed_bubbles(texts, style=style)


def _says_the_reply(texts: Sequence[str], reply: str) -> bool:
    """Return whether bubbles are few enough and say the reply's own words, in order.

    Marks may differ: a bubble often ends without the full stop that a reply has.
    """
    is_few = 0 < len(texts) <= MAX_PLANNED_BUBBLES
    return is_few and text_key("".join(texts)) == text_key(reply)


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """What of a search's limits the advisory does not tell.

    Args:
        max_calls: most calls, and most requests, of the search's scope, repairs and retries
            included; None where only other limits apply.
        held_calls: calls held back for the reply that the advisory leaves out and the
            search's first call draws on; 0 or 1.
    """

    max_calls: int | None = None
    held_calls: int = 0


UNBOUNDED = SearchLimits()
"""A search whose only limits are its knobs and what the advisory has."""


def search_bounds(
    knobs: SearchKnobs,
    *,
    max_calls: int | None = None,
    max_requests: int | None = None,
    held_calls: int = 0,
) -> SearchLimits:
    """Return what is to bound a search.

    The scope is to be opened with `max_calls` of the result both as its `max_calls` and as
    its `max_requests`, where it is not None. `classic_uct` is left to the limits as they
    are: its cap counts actions.

    Args:
        knobs: of the search.
        max_calls: limit that the search's scope has anyway; None is no limit.
        max_requests: likewise.
        held_calls: see `SearchLimits`.
    """
    if knobs.policy == "classic_uct":
        return SearchLimits(held_calls=held_calls)
    cap = DEFAULT_CAP if knobs.max_calls is None else knobs.max_calls
    caps = (cap, max_calls, max_requests)
    return SearchLimits(min(each for each in caps if each is not None), held_calls)


def remaining_calls(
    advisory: Remaining, bounds: SearchLimits = UNBOUNDED, *, is_first: bool = False
) -> RemainingCalls:
    """Return the budget's advisory as the search reads it: in calls.

    Args:
        advisory: of the search's scope.
        bounds: what it does not have.
        is_first: whether the search has asked nothing yet. Then at least one call fits:
            the reply must come, and whether it may is for the budget to say.
    """
    is_late = advisory.seconds_left is not None and advisory.seconds_left <= 0
    limits = [advisory.calls_left, advisory.requests_left]
    if is_late or _is_spent(advisory.tokens_left) or _is_spent(advisory.usd_left):
        limits.append(0)
    calls = min((left for left in limits if left is not None), default=None)
    by_role = dict(advisory.calls_left_by_role)
    proposer, judge = by_role.get(Role.MAIN), by_role.get(Role.JUDGE)
    if not is_first:
        return RemainingCalls(calls, proposer, judge, is_late=is_late)
    calls = None if calls is None else max(calls + bounds.held_calls, 1)
    if calls is not None and bounds.max_calls is not None:
        calls = min(calls, bounds.max_calls)
    proposer = None if proposer is None else max(proposer + bounds.held_calls, 1)
    return RemainingCalls(calls, proposer, judge)


def repairs_within(
    remaining: RemainingCalls, kinds: Sequence[ActionKind], *, max_repairs: int
) -> list[int]:
    """Return how many repairs each call of a round may have, so that all of them fit.

    Every call is given its first repair before any is given its second.

    Args:
        remaining: before the round.
        kinds: of its actions, each one call.
        max_repairs: most of one call; at least 0.
    """
    sides = [side_of(kind) for kind in kinds]
    repairs = [0] * len(kinds)
    proposer, judge = sides.count(Side.PROPOSER), sides.count(Side.JUDGE)
    for _ in range(max_repairs):
        for place, side in enumerate(sides):
            more = (proposer + (side is Side.PROPOSER), judge + (side is Side.JUDGE))
            if remaining.fits(proposer=more[0], judge=more[1]):
                proposer, judge = more
                repairs[place] += 1
    return repairs


def _is_spent(left: float | None) -> bool:
    return left is not None and left <= 0


NODE = "lats_search"

_JUDGING = frozenset(kind for kind in ActionKind if side_of(kind) is Side.JUDGE) - {
    ActionKind.CHECK_ASSISTANT
}
"""Kinds whose answer is a judgement of a reply as a whole."""


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """What the search leaves to the nodes after it.

    Args:
        reply: the chosen reply; None when not even a first draft came, and the graph has to
            fall back.
        goal: what the reply is to reach; blank when there is none.
        strategy_tag: what the chosen reply tries; blank when unsaid.
        processor_plan: the reply as bubbles with typing delays, when the model cut it
            so; delays that it left out are set by rule. None leaves it to the processor.
        stop_reason: why the search stopped.
        degradation: why there is no reply, or why no judgement could be used though a judge
            was asked; None when there is a reply and nothing to report.
        result: the whole search.
        error: what ended the first call when there is no reply; None where nothing did, or
            where the answer was of no use.
        policy: which search ran.
        max_calls: calls that its knobs allow; None for `classic_uct`.
        guidelines: what the next turn's search is to be given, a turn older than this one.
    """

    reply: str | None
    goal: str
    strategy_tag: str
    processor_plan: tuple[Bubble, ...] | None
    stop_reason: StopReason
    degradation: Degradation | None
    result: SearchResult
    error: CallError | None = None
    policy: str = "classic_uct"
    max_calls: int | None = None
    guidelines: tuple[Guideline, ...] = ()

    @property
    def wound_down(self) -> dict[str, int] | None:
        """Calls that the search planned for and that its knobs allow, where those are more."""
        planned = self.result.planned_cap
        if planned is None or self.max_calls is None or planned >= self.max_calls:
            return None
        return {"planned": planned, "knobs": self.max_calls}

    def summary(self) -> dict[str, Any]:
        """Return what the search did, as plain JSON for the graph's state.

        It is the search's record (`SearchResult.record`) with the guidelines as the next turn
        is given them.
        """
        return {
            **self.result.record(),
            "guidelines": [asdict(each) for each in self.guidelines],
            "wound_down": self.wound_down,
        }


def outcome_of(
    result: SearchResult,
    errors: Sequence[tuple[ActionKind, CallError]],
    *,
    knobs: SearchKnobs,
    style: StyleVector,
) -> SearchOutcome:
    """Return what a search that is over leaves.

    Args:
        result: of the search.
        errors: what went wrong on the way, in the order in which it was told, each with
            the kind of the action whose call it ended.
        knobs: of the search.
        style: sets the delays of bubbles that came without.

    Raises:
        ValueError: when the search is still under way.
    """
    if result.stop_reason is None:
        raise ValueError("the search is still under way")
    best = result.best
    cap = None
    if knobs.policy != "classic_uct":
        cap = DEFAULT_CAP if knobs.max_calls is None else knobs.max_calls
    return SearchOutcome(
        reply=None if best is None else best.draft.reply,
        goal="" if best is None else goal_of(result.tree, best.node_id),
        strategy_tag="" if best is None else best.draft.strategy_tag,
        processor_plan=None if best is None else planned_bubbles(best.draft, style),
        stop_reason=result.stop_reason,
        degradation=_degradation(result, errors),
        result=result,
        error=errors[0][1] if errors and best is None else None,
        policy=knobs.policy,
        max_calls=cap,
        guidelines=aged_guidelines(result.guidelines),
    )


def _degradation(
    result: SearchResult, errors: Sequence[tuple[ActionKind, CallError]]
) -> Degradation | None:
    if result.best is None:
        return _no_reply(result, errors)
    return _no_judgement(result, [error for kind, error in errors if kind in _JUDGING])


def _no_judgement(result: SearchResult, errors: Sequence[CallError]) -> Degradation | None:
    """Return why no judgement could be used; None where one could, or none was asked for."""
    asked = sum(count for kind, count in result.asked.items() if kind in _JUDGING)
    failed = sum(count for kind, count in result.failed.items() if kind in _JUDGING)
    # An answer to a list may be read, and say nothing of any candidate that was shown.
    is_classic = result.policy == "classic_uct"
    is_unjudged = not is_classic and not any(map(is_judged, result.tree.candidates))
    if not asked or (failed < asked and not is_unjudged):
        return None
    calls = f"of {asked} judge call{'s' if asked > 1 else ''}"
    if not errors:
        detail = f"no usable judgement: {asked} {calls} brought no score"
        return Degradation(node=NODE, reason="invalid", detail=detail)
    first = degradation_of(errors[0], node=NODE)
    rest = "" if failed == asked else ", and the rest brought no score"
    detail = f"no usable judgement: {failed} {calls} failed ({first.detail}){rest}"
    return Degradation(node=NODE, reason=first.reason, detail=detail)


def _no_reply(result: SearchResult, errors: Sequence[tuple[ActionKind, CallError]]) -> Degradation:
    """Return why there is no reply."""
    if errors:
        return degradation_of(errors[0][1], node=NODE)
    match result.stop_reason:
        case StopReason.CAP:
            reason, detail = "refused", "search.max_calls allows no call for a reply"
        case StopReason.BUDGET | StopReason.DEADLINE:
            reason, detail = "refused", "the budget allows no call for a reply"
        case _ if result.tree.has_start:
            reason, detail = "invalid", "no generation has a usable reply"
        case _:
            reason, detail = "invalid", "the root plan has no reply"
    return Degradation(node=NODE, reason=reason, detail=detail)


async def search_reply(
    llm: LLM,
    *,
    knobs: SearchKnobs,
    material: SearchMaterial,
    explicit: Collection[str] | None = None,
    max_repairs: int = 1,
    guidelines: Iterable[Guideline] = (),
    bounds: SearchLimits = UNBOUNDED,
) -> SearchOutcome:
    """Return the best reply that a search under these knobs finds.

    Calls that fail or are refused are told to the search, which goes on or ends with
    the best so far.

    Args:
        llm: answers calls, and knows what the budget has left.
        knobs: of the search, before the stage has its say.
        material: of this turn.
        explicit: names of the knobs that the stage must leave alone; see `with_stage`.
        max_repairs: times that an answer of the wrong form is asked again.
        guidelines: what the search of the turn before left (`SearchOutcome.guidelines`).
        bounds: what of the search's limits the llm's advisory does not have.

    Raises:
        CallError: only one after which no other call can work (`is_fatal`).
        ConfigError: when the knobs name a rubric that there is not, or weigh or judge by
            what no judge of replies can say.
    """
    check_judging(knobs)
    staged = with_stage(knobs, material.stage.value, explicit=explicit)
    context = ReplyContext(user_text=material.user_text, language=material.language)
    policy = start_search(staged, context, guidelines=guidelines)
    errors = await run_search(
        policy,
        llm,
        material,
        max_repairs=max_repairs,
        judge_logprobs=knobs.judge_logprobs,
        bounds=bounds,
    )
    return outcome_of(policy.result(), errors, knobs=knobs, style=material.style)


async def run_search(
    policy: SearchPolicy,
    llm: LLM,
    material: SearchMaterial,
    *,
    max_repairs: int = 1,
    judge_logprobs: int = 0,
    bounds: SearchLimits = UNBOUNDED,
) -> list[tuple[ActionKind, CallError]]:
    """Drive a search, new or restored, to its end, and return what went wrong on the way.

    Each error has the kind of the action whose call it ended.

    Args:
        policy: the search.
        llm: answers calls, and knows what the budget has left.
        material: of this turn.
        max_repairs: times that an answer of the wrong form is asked again, as far as there is
            room for it.
        judge_logprobs: see `SearchKnobs.judge_logprobs`.
        bounds: what of the search's limits the llm's advisory does not have.

    Raises:
        CallError: only one after which no other call can work (`is_fatal`).
        ConfigError: when the search names a rubric that there is not.
    """
    errors: list[tuple[ActionKind, CallError]] = []
    has_asked = bool(policy.result().asked)
    left = RemainingCalls()

    def remaining() -> RemainingCalls:
        nonlocal left
        left = remaining_calls(llm.advisory(), bounds, is_first=not has_asked)
        return left

    async def answer_round(actions: Sequence[Action]) -> list[ActionAnswer]:
        nonlocal has_asked
        has_asked = True
        kinds = [each.label for each in actions]
        repairs = repairs_within(left, kinds, max_repairs=max_repairs)
        calls = [
            call_for(each, policy.tree, material, max_repairs=count, judge_logprobs=judge_logprobs)
            for each, count in zip(actions, repairs, strict=True)
        ]
        answers = await llm.ask_all(calls, max_concurrency=len(calls))
        pairs = list(zip(actions, answers, strict=True))
        errors.extend(
            (action.label, answer) for action, answer in pairs if isinstance(answer, CallError)
        )
        return [answer_to(action, answer, policy.tree, material) for action, answer in pairs]

    await drive(policy, answer_round, remaining=remaining)
    return errors
