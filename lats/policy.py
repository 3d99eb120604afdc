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
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lats.candidate import Forest
from lats.judgement import Judgement
from lats.moves import Move
from lats.proposal import Drafts, Failure, Proposal, ProposalId
from lats.result import SearchResult
from lats.room import Room
from lats.tree import Tree
from lats.verdict import Verdicts

__all__ = ["Answer", "SearchPolicy", "StateError"]

Answer = Drafts | Judgement | Verdicts | Failure
"""What a proposal may be answered with; which, its own docstring says."""


class StateError(ValueError):
    """A saved state that cannot be read: of another version, another policy, or broken."""


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
