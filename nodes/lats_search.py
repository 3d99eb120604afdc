"""The search node: drives a tree search, a round of calls at a time.

The search itself (`lats`) knows no model. This node asks it what to propose, turns the
proposals into calls, asks a whole round at once, and tells the search what came. How
many calls of a round travel together is the search's knob, so the round's size is the
limit on concurrency. Before each round the search is told how much of the budget is
left, and winds down rather than be refused.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from lats.draft import MAX_REPLY_CHARS, Draft, clean_text
from lats.fast_score import ReplyContext
from lats.knobs import SearchKnobs
from lats.policy import SearchPolicy
from lats.registry import start_search
from lats.result import SearchResult, StopReason
from lats.room import Room
from lats.similarity import text_key
from lats.stage import with_stage
from nodes.bubbles import timed_bubbles
from nodes.degrade import degradation_of
from nodes.records import Bubble, Degradation, StyleVector
from nodes.search_answers import ProcessorPlan
from nodes.search_calls import answer_to, call_for
from nodes.search_material import SearchMaterial
from turnwise.calls.asker import Advisory, Asker
from turnwise.calls.errors import CallError
from turnwise.calls.vocabulary import Role

__all__ = ["MAX_BUBBLES", "MAX_DELAY_SECONDS", "SearchOutcome", "run_search", "search_reply"]

NODE = "lats_search"

MAX_BUBBLES = 12
"""A processor plan with more bubbles is not used."""

MAX_DELAY_SECONDS = 60.0
"""A processor plan with a longer typing delay is not used."""


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """What the search leaves to the nodes after it.

    Args:
        reply: the chosen reply; None when not even a root draft came, and the graph
            has to fall back.
        goal: what the reply is to reach; blank when there is none.
        strategy_tag: what the chosen reply tries; blank when unsaid.
        processor_plan: the reply as bubbles with typing delays, when the model cut it
            so; delays that it left out are set by rule. None leaves it to the processor.
        stop_reason: why the search stopped.
        degradation: why there is no reply; None when there is one.
        result: the whole search.
        error: what ended the root plan's call when there is no reply; None where nothing
            did, or where the answer was of no use.
    """

    reply: str | None
    goal: str
    strategy_tag: str
    processor_plan: tuple[Bubble, ...] | None
    stop_reason: StopReason
    degradation: Degradation | None
    result: SearchResult
    error: CallError | None = None

    def summary(self) -> dict[str, Any]:
        """Return what the search did, as plain JSON for the graph's state."""
        result = self.result
        final = result.final_judgement
        return {
            "stop_reason": self.stop_reason.value,
            "best_id": None if result.best is None else result.best.node_id,
            "rollouts_done": result.rollouts_done,
            "rounds": result.rounds,
            "asked": {kind.value: count for kind, count in result.asked.items()},
            "failed": {kind.value: count for kind, count in result.failed.items()},
            "final_judgement": None if final is None else final.model_dump(mode="json"),
            "tree": result.tree.model_dump(mode="json"),
        }


async def search_reply(
    asker: Asker,
    *,
    knobs: SearchKnobs,
    material: SearchMaterial,
    explicit: Collection[str] | None = None,
    max_repairs: int = 1,
) -> SearchOutcome:
    """Return the best reply that a search under these knobs finds.

    Calls that fail or are refused are told to the search, which goes on or ends with
    the best so far.

    Args:
        asker: whoever answers calls, and says how much room is left.
        knobs: of the search, before the stage has its say.
        material: of this turn.
        explicit: names of the knobs that the stage must leave alone; see `with_stage`.
        max_repairs: times that an answer of the wrong form is asked again.

    Raises:
        CallError: only one after which no other call can work (`is_fatal`).
    """
    stage = None if material.stage is None else material.stage.value
    context = ReplyContext(user_text=material.user_text, language=material.language)
    policy = start_search(with_stage(knobs, stage, explicit=explicit), context)
    errors = await run_search(policy, asker, material, max_repairs=max_repairs)
    return _outcome(policy.result(), errors, material)


async def run_search(
    policy: SearchPolicy, asker: Asker, material: SearchMaterial, *, max_repairs: int = 1
) -> list[CallError]:
    """Drive a search, new or restored, to its end, and return what went wrong on the way.

    Raises:
        CallError: only one after which no other call can work (`is_fatal`).
    """
    errors: list[CallError] = []
    while proposals := policy.ask(_room(asker.advisory())):
        calls = [
            call_for(proposal, policy.tree, material, max_repairs=max_repairs)
            for proposal in proposals
        ]
        answers = await asker.ask_all(calls, max_concurrency=len(calls))
        for proposal, answer in zip(proposals, answers, strict=True):
            if isinstance(answer, CallError):
                errors.append(answer)
            policy.tell(proposal.proposal_id, answer_to(answer))
    return errors


def _room(advisory: Advisory) -> Room:
    """Return the budget's advisory as the search reads it: in calls."""
    limits = [advisory.calls_left, advisory.requests_left]
    amounts = (advisory.tokens_left, advisory.usd_left, advisory.seconds_left)
    if any(left is not None and left <= 0 for left in amounts):
        limits.append(0)
    by_role = dict(advisory.calls_left_by_role)
    return Room(
        max_calls=min((left for left in limits if left is not None), default=None),
        max_proposer_calls=by_role.get(Role.MAIN),
        max_judge_calls=by_role.get(Role.JUDGE),
    )


def _outcome(
    result: SearchResult, errors: list[CallError], material: SearchMaterial
) -> SearchOutcome:
    if result.stop_reason is None:
        raise ValueError("the search is still under way")
    best = result.best
    if best is None:
        return SearchOutcome(
            reply=None,
            goal="",
            strategy_tag="",
            processor_plan=None,
            stop_reason=result.stop_reason,
            degradation=_degradation(result.stop_reason, errors),
            result=result,
            error=errors[0] if errors else None,
        )
    return SearchOutcome(
        reply=best.draft.reply,
        goal=str(result.tree.root.draft.payload.get("goal", "")),
        strategy_tag=best.draft.strategy_tag,
        processor_plan=_processor_plan(best.draft, material.style),
        stop_reason=result.stop_reason,
        degradation=None,
        result=result,
    )


def _degradation(reason: StopReason, errors: list[CallError]) -> Degradation:
    if errors:
        return degradation_of(errors[0], node=NODE)
    if reason is StopReason.CAP:
        detail = "search.max_calls leaves no room for a reply"
        return Degradation(node=NODE, reason="refused", detail=detail)
    return Degradation(node=NODE, reason="invalid", detail="the root plan has no reply")


def _says_the_reply(texts: Sequence[str], reply: str) -> bool:
    """Return whether bubbles are few enough and say the reply's own words, in order.

    Marks may differ: a bubble often ends without the full stop that a reply has.
    """
    return 0 < len(texts) <= MAX_BUBBLES and text_key("".join(texts)) == text_key(reply)


def _processor_plan(draft: Draft, style: StyleVector) -> tuple[Bubble, ...] | None:
    """Return the bubbles that a model cut its reply into, or None where they cannot be used."""
    timed = _given_plan(draft)
    if timed and all(bubble.delay_seconds <= MAX_DELAY_SECONDS for bubble in timed):
        return timed
    raw = draft.payload.get("bubbles")
    if not isinstance(raw, list):
        return None
    texts = [text for text in (clean_text(each, MAX_REPLY_CHARS) for each in raw) if text]
    if not _says_the_reply(texts, draft.reply):
        return None
    return timed_bubbles(texts, style=style)


def _given_plan(draft: Draft) -> tuple[Bubble, ...]:
    """Return the processor plan that came with a reply, or nothing when it says other words."""
    raw = draft.payload.get("processor_plan")
    if raw is None:
        return ()
    cleaned = [
        bubble.model_copy(update={"text": clean_text(bubble.text, MAX_REPLY_CHARS)})
        for bubble in ProcessorPlan.model_validate(raw).bubbles
    ]
    bubbles = tuple(bubble for bubble in cleaned if bubble.text)
    if not _says_the_reply([bubble.text for bubble in bubbles], draft.reply):
        return ()
    return bubbles
