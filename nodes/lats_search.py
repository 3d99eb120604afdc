"""The search node: drives a tree search, a round of calls at a time.

The search itself (`lats`) knows no model. This node asks it what to propose, turns the
proposals into calls, asks a whole round at once, and tells the search what came. How
many calls of a round travel together is the search's knob, so the round's size is the
limit on concurrency. Before each round the search is told how much of the budget is
left, and winds down rather than be refused.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from lats.fast_score import ReplyContext
from lats.knobs import SearchKnobs
from lats.policy import SearchPolicy
from lats.registry import start_search
from lats.result import SearchResult, StopReason
from lats.room import Room
from lats.similarity import text_key
from lats.stage import with_stage
from nodes.degrade import degradation_of
from nodes.records import Bubble, Degradation
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
        bubbles: the reply as chat bubbles, when the model cut it so; else empty.
        processor_plan: the reply as bubbles with typing delays, when the model gave
            them; None leaves it to the processor.
        stop_reason: why the search stopped.
        degradation: why there is no reply; None when there is one.
        result: the whole search.
    """

    reply: str | None
    goal: str
    strategy_tag: str
    bubbles: tuple[str, ...]
    processor_plan: tuple[Bubble, ...] | None
    stop_reason: StopReason
    degradation: Degradation | None
    result: SearchResult

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
    return _outcome(policy.result(), errors)


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


def _outcome(result: SearchResult, errors: list[CallError]) -> SearchOutcome:
    if result.stop_reason is None:
        raise ValueError("the search is still under way")
    best = result.best
    if best is None:
        return SearchOutcome(
            reply=None,
            goal="",
            strategy_tag="",
            bubbles=(),
            processor_plan=None,
            stop_reason=result.stop_reason,
            degradation=_degradation(result.stop_reason, errors),
            result=result,
        )
    payload = best.draft.payload
    return SearchOutcome(
        reply=best.draft.reply,
        goal=str(result.tree.root.draft.payload.get("goal", "")),
        strategy_tag=best.draft.strategy_tag,
        bubbles=_bubbles(payload.get("bubbles"), best.draft.reply),
        processor_plan=_processor_plan(payload.get("processor_plan"), best.draft.reply),
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


def _bubbles(raw: Any, reply: str) -> tuple[str, ...]:
    """Return the bubbles that a model cut its reply into, or none when they say other words."""
    if not isinstance(raw, list):
        return ()
    texts = tuple(text.strip() for text in raw if isinstance(text, str) and text.strip())
    if len(texts) > MAX_BUBBLES or text_key("".join(texts)) != text_key(reply):
        return ()
    return texts


def _processor_plan(raw: Any, reply: str) -> tuple[Bubble, ...] | None:
    """Return a processor plan that sends the reply's own words in sensible time, or None."""
    if raw is None:
        return None
    try:
        plan = ProcessorPlan.model_validate(raw)
    except ValidationError:
        return None  # it was valid when it came; a restored state may hold anything
    if not _bubbles([bubble.text for bubble in plan.bubbles], reply):
        return None
    if any(bubble.delay_seconds > MAX_DELAY_SECONDS for bubble in plan.bubbles):
        return None
    return tuple(
        Bubble(text=bubble.text.strip(), delay_seconds=bubble.delay_seconds)
        for bubble in plan.bubbles
        if bubble.text.strip()
    )
