"""The search node: drives a tree search, a round of calls at a time.

The search itself (`lats`) knows no model. This node turns its proposals into calls, asks a
whole round at once, and tells the search what came. How many calls of a round travel
together is the search's knob, so the round's size is the limit on concurrency. Before each
round the search is told how much of the budget is left, and winds down rather than be
refused. The repairs of a round come out of what its own calls leave of that, so that none is
asked for which there is no place.
"""

from collections.abc import Collection, Iterable, Sequence

from lats.drive import drive
from lats.fast_score import ReplyContext
from lats.knobs import SearchKnobs
from lats.moves import Move
from lats.policy import Answer, SearchPolicy
from lats.proposal import Kind, Proposal
from lats.reflection import Guideline
from lats.registry import start_search
from lats.room import Room
from lats.stage import with_stage
from nodes.search_bounds import UNBOUNDED, SearchBounds, repairs_within, room_of
from nodes.search_calls import answer_to, call_for
from nodes.search_material import SearchMaterial
from nodes.search_outcome import SearchOutcome, outcome_of
from nodes.search_rubrics import check_judging
from turnwise.calls.asker import Asker
from turnwise.calls.errors import CallError

__all__ = ["SearchOutcome", "run_search", "search_reply"]


async def search_reply(
    asker: Asker,
    *,
    knobs: SearchKnobs,
    material: SearchMaterial,
    explicit: Collection[str] | None = None,
    max_repairs: int = 1,
    guidelines: Iterable[Guideline] = (),
    bounds: SearchBounds = UNBOUNDED,
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
        guidelines: what the search of the turn before left (`SearchOutcome.guidelines`).
        bounds: what of the search's limits the asker's advisory does not tell.

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
        asker,
        material,
        max_repairs=max_repairs,
        judge_logprobs=knobs.judge_logprobs,
        bounds=bounds,
    )
    return outcome_of(policy.result(), errors, knobs=knobs, style=material.style)


async def run_search(
    policy: SearchPolicy,
    asker: Asker,
    material: SearchMaterial,
    *,
    max_repairs: int = 1,
    judge_logprobs: int = 0,
    bounds: SearchBounds = UNBOUNDED,
) -> list[tuple[Kind, CallError]]:
    """Drive a search, new or restored, to its end, and return what went wrong on the way.

    Each error has the kind of the proposal whose call it ended.

    Args:
        policy: the search.
        asker: whoever answers calls, and says how much room is left.
        material: of this turn.
        max_repairs: times that an answer of the wrong form is asked again, as far as there is
            room for it.
        judge_logprobs: see `SearchKnobs.judge_logprobs`.
        bounds: what of the search's limits the asker's advisory does not tell.

    Raises:
        CallError: only one after which no other call can work (`is_fatal`).
        ConfigError: when the search names a rubric that there is not.
    """
    errors: list[tuple[Kind, CallError]] = []
    has_asked = bool(policy.result().asked)
    left = Room()

    def room() -> Room:
        nonlocal left
        left = room_of(asker.advisory(), bounds, is_first=not has_asked)
        return left

    async def answer_round(proposals: Sequence[Proposal | Move]) -> list[Answer]:
        nonlocal has_asked
        has_asked = True
        calls = [
            call_for(
                proposal,
                policy.tree,
                material,
                max_repairs=repairs,
                judge_logprobs=judge_logprobs,
            )
            for proposal, repairs in zip(
                proposals,
                repairs_within(left, [each.kind for each in proposals], max_repairs=max_repairs),
                strict=True,
            )
        ]
        answers = await asker.ask_all(calls, max_concurrency=len(calls))
        pairs = list(zip(proposals, answers, strict=True))
        errors.extend(
            (proposal.kind, answer) for proposal, answer in pairs if isinstance(answer, CallError)
        )
        return [answer_to(proposal, answer, policy.tree, material) for proposal, answer in pairs]

    await drive(policy, answer_round, room=room)
    return errors
