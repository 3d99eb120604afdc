"""Search node: drives a tree search, a round of calls at a time.

The search itself (`lats`) does not depend on models. This node turns its actions into calls, asks a
whole round together, and gives the search their answers. How many calls of a round are asked
together is the search's knob, so the round's size is the limit on concurrency.

The search counts actions. A scope counts more: repairs are calls, and retries are requests.
So that the cap includes them, it is a limit of the search's scope, and before each round the
search reads how much of it remains and winds down rather than be refused. The repairs of a
round come out of what its own calls leave of that.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from callwise.calls.call import Role
from callwise.calls.client import LLM, Remaining
from callwise.calls.errors import CallError, ConfigError
from lats.actions import Action, ActionKind, Side, side_of
from lats.answers import MAX_REPLY_CHARS, ActionAnswer, Draft, clean_text
from lats.policies import start_search
from lats.policy import RemainingCalls, drive
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
from nodes.search.action_answers import RUBRICS, answer_to, rubric_called
from nodes.search.action_calls import SearchMaterial, call_for

__all__ = [
    "MAX_PLANNED_BUBBLES",
    "SearchLimits",
    "SearchOutcome",
    "check_judging",
    "outcome_of",
    "planned_bubbles",
    "remaining_calls",
    "repairs_within",
    "search_limits",
    "search_reply",
]

NODE = "lats_search"

MAX_PLANNED_BUBBLES = 12
"""A reply that was cut into more bubbles is cut by rule."""

_JUDGING = frozenset(kind for kind in ActionKind if side_of(kind) is Side.JUDGE) - {
    ActionKind.CHECK_ASSISTANT
}
"""Kinds of action that are answered by a judgement of a whole reply."""


def planned_bubbles(draft: Draft, style: StyleVector) -> tuple[Bubble, ...] | None:
    """Return the bubbles that a model cut its reply into, or None where they cannot be used.

    They must be few, and the reply's own words in order. Marks may differ: a bubble often ends
    without the full stop that a reply has.
    """
    raw = draft.payload.get("bubbles")
    if not isinstance(raw, list):
        return None
    texts = [text for text in (clean_text(each, MAX_REPLY_CHARS) for each in raw) if text]
    is_few = 0 < len(texts) <= MAX_PLANNED_BUBBLES
    if not is_few or text_key("".join(texts)) != text_key(draft.reply):
        return None
    return timed_bubbles(texts, style=style)


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """Limits of a search that `Remaining` does not contain.

    Args:
        max_calls: most calls, and most requests, of the search's scope, repairs and retries
            included; None where only other limits apply.
        held_calls: calls held back for the reply, which `Remaining` leaves out and the
            search's first call draws on; 0 or 1.
    """

    max_calls: int | None = None
    held_calls: int = 0


def _cap(knobs: SearchKnobs) -> int | None:
    """Return the calls that the knobs allow; None for `classic_uct`, whose cap counts actions."""
    if knobs.policy == "classic_uct":
        return None
    return DEFAULT_CAP if knobs.max_calls is None else knobs.max_calls


def search_limits(
    knobs: SearchKnobs,
    *,
    max_calls: int | None = None,
    max_requests: int | None = None,
    held_calls: int = 0,
) -> SearchLimits:
    """Return the limits of a search.

    The scope is to be opened with `max_calls` of the result both as its `max_calls` and as
    its `max_requests`, where it is not None.
    """
    cap = _cap(knobs)
    if cap is not None:
        cap = min(each for each in (cap, max_calls, max_requests) if each is not None)
    return SearchLimits(cap, held_calls)


def remaining_calls(
    budget: Remaining, limits: SearchLimits | None = None, *, is_first: bool = False
) -> RemainingCalls:
    """Return what remains of the budget as the search reads it: in calls.

    Args:
        is_first: whether the search has asked nothing yet. Then at least one call fits:
            the reply must come, and the budget refuses it where it may not.
    """
    limits = limits or SearchLimits()
    is_late = budget.seconds_left is not None and budget.seconds_left <= 0
    left = [each for each in (budget.calls_left, budget.requests_left) if each is not None]
    spendable = (budget.tokens_left, budget.usd_left)
    if is_late or any(each is not None and each <= 0 for each in spendable):
        left.append(0)
    calls = min(left, default=None)
    by_role = dict(budget.calls_left_by_role)
    proposer, judge = by_role.get(Role.MAIN), by_role.get(Role.JUDGE)
    if not is_first:
        return RemainingCalls(calls, proposer, judge, is_late=is_late)
    if calls is not None:
        calls = max(calls + limits.held_calls, 1)
        calls = calls if limits.max_calls is None else min(calls, limits.max_calls)
    proposer = None if proposer is None else max(proposer + limits.held_calls, 1)
    return RemainingCalls(calls, proposer, judge)


def repairs_within(
    remaining: RemainingCalls, kinds: Sequence[ActionKind], *, max_repairs: int
) -> list[int]:
    """Return how many repairs each call of a round may have, so that all of them fit.

    Every call is given its first repair before any is given its second.
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


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """A search that is over, for the nodes after it.

    Args:
        reply: the chosen reply; None when not even a first draft came, and the graph has to
            fall back.
        processor_plan: the reply as bubbles with typing delays, when the model cut it
            so; delays that it left out are set by rule. None leaves it to the processor.
        degradation: why there is no reply, or why no judgement could be used though a judge
            was asked; None when there is a reply and nothing to report.
        error: the error that ended the first call when there is no reply; None where there was
            none, or where the answer was of no use.
        max_calls: calls that its knobs allow; None for `classic_uct`.
        guidelines: those to give to the next turn's search, a turn older than this one.
    """

    result: SearchResult
    reply: str | None
    processor_plan: tuple[Bubble, ...] | None
    degradation: Degradation | None
    error: CallError | None = None
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
        """Return the search's record as plain JSON for the graph's state.

        It is `SearchResult.record` with the guidelines as the next turn is given them.
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
    """Return the outcome of a search that is over.

    Args:
        errors: in the order in which the search was given them, each with the kind of the action
            whose call it ended.

    Raises:
        ValueError: when the search is still under way.
    """
    if result.stop_reason is None:
        raise ValueError("the search is still under way")
    best = result.best
    judging_errors = [error for kind, error in errors if kind in _JUDGING]
    no_judgement = _no_judgement(result, judging_errors) if best is not None else None
    return SearchOutcome(
        result=result,
        reply=None if best is None else best.draft.reply,
        processor_plan=None if best is None else planned_bubbles(best.draft, style),
        degradation=_no_reply(result, errors) if best is None else no_judgement,
        error=errors[0][1] if errors and best is None else None,
        max_calls=_cap(knobs),
        guidelines=aged_guidelines(result.guidelines),
    )


def _no_judgement(result: SearchResult, errors: Sequence[CallError]) -> Degradation | None:
    """Return why no judgement could be used; None where one could, or none was asked for."""
    asked = sum(count for kind, count in result.asked.items() if kind in _JUDGING)
    failed = sum(count for kind, count in result.failed.items() if kind in _JUDGING)
    # The answer to a list may be readable, and score no candidate that was shown.
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


def _named(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def check_judging(knobs: SearchKnobs) -> None:
    """Refuse knobs that a judge of replies cannot follow.

    Raises:
        ConfigError: for an unknown rubric, for weights of which a rubric asks for none, and for
            judging by agreement, which needs answers that can be checked.
    """
    rubrics = [rubric_called(name) for name in knobs.rubrics]
    if knobs.policy == "classic_uct":
        return
    if knobs.judging == "agreement":
        raise ConfigError(
            "search.judging: 'agreement' needs answers that can be checked, and a chat reply "
            "cannot; use 'listwise', 'pointwise' or 'pairwise'"
        )
    known = {"score", *RUBRICS["overall"].attributes}
    unknown = sorted(set(knobs.attribute_weights) - known)
    if unknown:
        raise ConfigError(
            f"search.attribute_weights: no judge is asked for {unknown[0]!r}; there are "
            f"{_named(known)}"
        )
    weighted = {name for name, weight in knobs.attribute_weights.items() if weight}
    for rubric in rubrics:
        if knobs.attribute_weights and not weighted & {"score", *rubric.attributes}:
            raise ConfigError(
                f"search.attribute_weights: the rubric {rubric.name!r} asks for none of "
                f"{_named(knobs.attribute_weights)}, so its passes would count for nothing; weigh "
                f"'score' or one of {_named(rubric.attributes)}"
            )


async def search_reply(
    llm: LLM,
    *,
    knobs: SearchKnobs,
    material: SearchMaterial,
    max_repairs: int = 1,
    guidelines: Iterable[Guideline] = (),
    limits: SearchLimits | None = None,
) -> SearchOutcome:
    """Return the best reply that a search under these knobs finds.

    Calls that fail or are refused are reported to the search, which goes on or ends with
    the best so far.

    Args:
        knobs: of the search, before the stage of the relationship sets some of them.
        max_repairs: times that an answer of the wrong form is asked again, as far as the calls
            that remain allow.
        guidelines: what the search of the turn before left (`SearchOutcome.guidelines`).
        limits: those that the LLM's `Remaining` does not contain.

    Raises:
        CallError: only one after which no other call can work (`is_fatal`).
        ConfigError: for an unknown rubric, or for weights or a judging that no judge of
            replies can follow.
    """
    check_judging(knobs)
    view = material.view
    staged = with_stage(knobs, view.relationship.stage.value)
    context = ReplyContext(user_text=view.user_text, language=view.language)
    policy = start_search(staged, context, guidelines=guidelines)
    errors: list[tuple[ActionKind, CallError]] = []
    has_asked = False
    left = RemainingCalls()

    def remaining() -> RemainingCalls:
        nonlocal left
        left = remaining_calls(llm.advisory(), limits, is_first=not has_asked)
        return left

    async def answer_round(actions: Sequence[Action]) -> list[ActionAnswer]:
        nonlocal has_asked
        has_asked = True
        kinds = [each.label for each in actions]
        repairs = repairs_within(left, kinds, max_repairs=max_repairs)
        logprobs = knobs.judge_logprobs
        calls = [
            call_for(each, policy.tree, material, max_repairs=count, judge_logprobs=logprobs)
            for each, count in zip(actions, repairs, strict=True)
        ]
        answers = await llm.ask_all(calls, max_concurrency=len(calls))
        pairs = list(zip(actions, answers, strict=True))
        errors.extend(
            (action.label, answer) for action, answer in pairs if isinstance(answer, CallError)
        )
        return [answer_to(action, answer, policy.tree, view.user_text) for action, answer in pairs]

    await drive(policy, answer_round, remaining=remaining)
    return outcome_of(policy.result(), errors, knobs=knobs, style=view.style)
