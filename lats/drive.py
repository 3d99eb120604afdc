"""The one place that drives a search: ask a round, have it answered, tell it, ask again.

Whoever answers gets a whole round at once and may answer it in parallel. It is also the
last guard: a search that proposed what it was already told would never end, so that is
an error rather than another paid call.
"""

from collections.abc import Awaitable, Callable, Sequence

from lats.moves import Move
from lats.policy import Answer, SearchPolicy
from lats.proposal import Proposal, ProposalId
from lats.result import SearchResult
from lats.room import Room

__all__ = ["AnswerRound", "RepeatedProposal", "drive"]

AnswerRound = Callable[[Sequence[Proposal | Move]], Awaitable[Sequence[Answer]]]
"""The proposals of one round -> one answer each, in their order. A failure is an answer too;
what it raises ends the search."""


class RepeatedProposal(RuntimeError):
    """A search proposed again what it was told already: a defect of the policy."""


async def drive(
    search: SearchPolicy, answer_round: AnswerRound, *, room: Callable[[], Room] = Room
) -> SearchResult:
    """Return what a search, new or restored, found when nothing more was proposed.

    Args:
        search: told as it goes; its `state_dict` after a round is a checkpoint.
        answer_round: answers a round.
        room: what the budget would still accept; asked before each round.

    Raises:
        RepeatedProposal: when the search would go on for ever.
        ValueError: when a round gets more or fewer answers than it has proposals.
    """
    told: set[ProposalId] = set()
    while proposals := search.ask(room()):
        again = [each.proposal_id for each in proposals if each.proposal_id in told]
        if again:
            raise RepeatedProposal(f"the search proposed {again[0]!r} after it was told")
        answers = await answer_round(proposals)
        for proposal, answer in zip(proposals, answers, strict=True):
            search.tell(proposal.proposal_id, answer)
            told.add(proposal.proposal_id)
    return search.result()
