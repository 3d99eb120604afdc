"""The contract of every search: ask for proposals, tell what came of them.

A policy is plain synchronous arithmetic. It holds no clock, no generator, no model and
no network; its whole state is plain JSON. Whoever drives it asks a round, has the
proposals answered in any order or all at once, tells each, and asks again until
nothing is proposed.

What every policy promises:

* All proposals of one round may travel together. The next round is proposed when all
  of this one have been told.
* Telling the answers of a round in another order, or twice, makes no difference: the
  first answer to a proposal stands.
* It ends: each proposal is made once, failures are not repeated without bound, and
  `max_calls` is never passed.
* It always has a result; the best so far until it is done.

How much room the driver has for the next round, as far as it knows.

The gates of an early exit: is this reply good enough to stop searching?

The one place that drives a search: ask a round, have it answered, tell it, ask again.

Whoever answers gets a whole round at once and may answer it in parallel. It is also the
last guard: a search that proposed what it was already told would never end, so that is
an error rather than another paid call.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lats.actions import Move, Proposal, ProposalId
from lats.answers import Drafts, Failure, Verdicts
from lats.judgement import Judgement
from lats.result import SearchResult
from lats.search_knobs import EarlyExitKnobs
from lats.search_tree import Forest
from lats.tree import Tree

__all__ = [
    "Answer",
    "AnswerRound",
    "RepeatedProposal",
    "Room",
    "SearchPolicy",
    "closed_gates",
    "drive",
]


@dataclass(frozen=True, slots=True)
class Room:
    """Calls that would still be accepted. `None` means that nothing limits them.

    Args:
        max_calls: in all.
        max_proposer_calls: calls of the proposing model.
        max_judge_calls: calls of the judging model.
        is_late: whether the time for searching is over. Then nothing fits.
    """

    max_calls: int | None = None
    max_proposer_calls: int | None = None
    max_judge_calls: int | None = None
    is_late: bool = False

    def fits(self, *, proposer: int = 0, judge: int = 0) -> bool:
        """Return whether that many calls fit."""
        pairs = (
            (self.max_calls, proposer + judge),
            (self.max_proposer_calls, proposer),
            (self.max_judge_calls, judge),
        )
        if self.is_late and proposer + judge > 0:
            return False
        return all(limit is None or wanted <= limit for limit, wanted in pairs)


Answer = Drafts | Judgement | Verdicts | Failure
"""What a proposal may be answered with; which, its own docstring says."""


class SearchPolicy(Protocol):
    """One search under way."""

    @property
    def tree(self) -> Tree | Forest:
        """Everything proposed and judged so far. Read only."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether nothing will be proposed any more."""
        ...

    def ask(self, room: Room = ...) -> Sequence[Proposal | Move]:
        """Return the proposals of this round that were not told yet; none when done.

        Args:
            room: what the budget would still accept. The search winds down rather than
                propose what does not fit. Looked at when a round is made, not later.
        """
        ...

    def tell(self, proposal_id: ProposalId, answer: Any) -> None:
        """Take the answer to a proposal. A second answer to it is ignored.

        Raises:
            ValueError: when nothing with this id was proposed.
            TypeError: when the answer is of the wrong sort for the proposal (see `Answer`).
        """
        ...

    def result(self) -> SearchResult:
        """Return what was found so far."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as plain JSON, from which the search goes on elsewhere."""
        ...

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "SearchPolicy":
        """Return the search that a state was taken from.

        Raises:
            StateError: when the state is of another version or policy, or broken.
        """
        ...


def _reaches(figure: float | None, least: float) -> bool:
    return figure is not None and figure >= least


def closed_gates(judgement: Judgement | None, knobs: EarlyExitKnobs) -> tuple[str, ...]:
    """Return the names of the knobs that forbid an early exit; none means it may happen.

    Args:
        judgement: what the judge said of the reply that would be answered, or None.
            A missing field keeps its gate closed.
        knobs: the gates. `min_rollouts` is not looked at.
    """
    if not knobs.enabled:
        return ("enabled",)
    said = judgement or Judgement()
    is_open = {
        "min_root_score": _reaches(said.score, knobs.min_root_score),
        "min_plan_alignment": _reaches(said.plan_alignment, knobs.min_plan_alignment),
        "max_assistantness": said.assistantness is not None
        and said.assistantness <= knobs.max_assistantness,
        "min_mode_fit": _reaches(said.mode_fit, knobs.min_mode_fit),
    }
    return tuple(name for name, passed in is_open.items() if not passed)


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
