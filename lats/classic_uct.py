"""The classic search: UCT over whole replies, one expansion a rollout, a few judged.

    plan the root -> judge it -> [ select a leaf -> expand it (-> top up) -> judge the
    best by rule -> back up -> gates ] x rollouts (-> check) -> judge the pick again

Source: LATS (arXiv 2310.04406) for select, expand, evaluate and back up. Departures:
a node is a finished reply, so there is no simulation and no terminal state; only the
best candidates by rule are judged; the answer is the best mean value. Knobs say how
much of each.

A rollout that failed is over, like any other: nothing is repeated but by the next
rollout, so the number of rounds is bounded by the knobs alone. A refusal by the budget
ends the search at once.
"""

from collections.abc import Mapping
from typing import Any

from lats.classic_answers import take_round
from lats.classic_closing import pick
from lats.classic_proposals import next_round
from lats.classic_state import ClassicState, Phase, load_state
from lats.fast_score import FastScorer, ReplyContext, fast_score
from lats.judgement import Judgement
from lats.knobs import ClassicKnobs
from lats.proposal import Drafts, Failure, Judged, Proposal, ProposalId, Side, side_of
from lats.result import SearchResult
from lats.room import Room
from lats.tree import Tree

__all__ = ["ClassicUct"]

_UNLIMITED = Room()


class ClassicUct:
    """One classic search under way; see `SearchPolicy` for the contract.

    Args:
        knobs: all settings; a stage preset is already applied.
        context: what the rules know of the turn.
        scorer: the rule score. Give the same one again to `from_state`.
    """

    def __init__(
        self, knobs: ClassicKnobs, context: ReplyContext, *, scorer: FastScorer = fast_score
    ) -> None:
        self._state = ClassicState(knobs=knobs, context=context, tree=Tree())
        self._scorer = scorer

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any], *, scorer: FastScorer = fast_score
    ) -> "ClassicUct":
        """Return the search that a state was taken from.

        Raises:
            StateError: when the state is of another version or policy, or broken.
        """
        loaded = load_state(state)
        search = cls(loaded.knobs, loaded.context, scorer=scorer)
        search._state = loaded
        return search

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as plain JSON."""
        return self._state.dump()

    @property
    def tree(self) -> Tree:
        """Everything proposed and judged so far. Read only."""
        return self._state.tree

    @property
    def is_done(self) -> bool:
        """Whether nothing will be proposed any more."""
        return self._state.phase is Phase.DONE

    def ask(self, room: Room = _UNLIMITED) -> list[Proposal]:
        """Return the proposals of this round that were not told yet; none when done."""
        state = self._state
        # Every step either proposes, or moves on: to a later phase, or to the next rollout.
        while not state.open_round and state.phase is not Phase.DONE:
            state.open_round = next_round(state, room, self._scorer)
            if state.open_round:
                state.rounds += 1
                for proposal in state.open_round:
                    state.asked[proposal.kind] = state.asked.get(proposal.kind, 0) + 1
        return [each for each in state.open_round if each.proposal_id not in state.told]

    def tell(self, proposal_id: ProposalId, answer: Drafts | Judgement | Failure) -> None:
        """Take the answer to a proposal. A second answer to it is ignored.

        Raises:
            ValueError: when nothing with this id was proposed.
            TypeError: when the answer is of the wrong sort for the proposal.
        """
        state = self._state
        if proposal_id in state.closed_ids or proposal_id in state.told:
            return
        proposal = next((p for p in state.open_round if p.proposal_id == proposal_id), None)
        if proposal is None:
            raise ValueError(f"nothing was proposed with the id {proposal_id!r}")
        wanted = Drafts if side_of(proposal.kind) is Side.PROPOSER else Judgement
        if not isinstance(answer, wanted | Failure):
            raise TypeError(
                f"{proposal_id} is answered by {wanted.__name__} or Failure, "
                f"got {type(answer).__name__}"
            )
        if isinstance(answer, Judgement):
            state.told[proposal_id] = Judged(judgement=answer)
        else:
            state.told[proposal_id] = answer
        if len(state.told) == len(state.open_round):
            take_round(state, self._scorer)

    def result(self) -> SearchResult:
        """Return what was found so far."""
        state = self._state
        return SearchResult(
            best=pick(state),
            stop_reason=state.stop_reason,
            final_judgement=state.final_judgement,
            rollouts_done=state.rollouts_done,
            rounds=state.rounds,
            asked=dict(state.asked),
            failed=dict(state.failed),
            tree=state.tree,
        )
