"""The machine behind every policy but the classic one: ask, tell, and a posterior.

It keeps the tree, the beliefs and the counts; a strategy decides the next round from them.
See `SearchPolicy` for what it promises.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from lats.actions import Generate, JudgeList, Move, ProposalId, Refine, Side, passes_of, side_of
from lats.answers import Draft, Drafts, Failure, Verdicts
from lats.judgement import Judgement
from lats.policy import Room, closed_gates
from lats.posterior import belief
from lats.ranking import RANKED_WHOLE, TieBreak, answers, confidence, is_heard, leading, ranked
from lats.reflection import Guideline
from lats.result import SearchResult, StateError, StopReason
from lats.schedule import Left
from lats.search_knobs import SearchKnobs
from lats.search_state import SearchState, load_search, save_search
from lats.search_tree import Forest
from lats.strategies import STRATEGIES
from lats.update import cleaned_answer, take_round

__all__ = ["PosteriorSearch"]


MAX_EMPTY_ROUNDS = 2
"""Rounds in a row that bring nothing, after which a search asks no more of their kind."""

_UNLIMITED = Room()
_START = Draft(reply="")
_GATES = frozenset({"plan_alignment", "assistantness", "mode_fit"})
_GATED = frozenset(Judgement.model_fields) - {"score", "reason"}


class PosteriorSearch:
    """One search under way, by the strategy that its knobs name.

    Args:
        knobs: all settings.
        start: what candidates from scratch start from, for tasks that have such a thing.
        guidelines: of earlier turns, aged.
        tie_break: decides between candidates that are otherwise equal. Give the same one
            again to `from_state`.

    Raises:
        ValueError: when the knobs name no strategy that this machine has.
    """

    def __init__(
        self,
        knobs: SearchKnobs,
        *,
        start: Draft = _START,
        guidelines: Iterable[Guideline] = (),
        tie_break: TieBreak | None = None,
    ) -> None:
        if knobs.policy not in STRATEGIES:
            raise ValueError(f"{knobs.policy!r} is none of {sorted(STRATEGIES)}")
        self._strategy = STRATEGIES[knobs.policy]
        self._state = SearchState(knobs, start, guidelines=tuple(guidelines))
        self._tie_break = tie_break

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any], *, tie_break: TieBreak | None = None
    ) -> "PosteriorSearch":
        """Return the search that a state was taken from.

        Raises:
            StateError: when the state is of another version or policy, or broken.
        """
        loaded = load_search(state)
        if loaded.given_knobs.policy not in STRATEGIES:
            raise StateError(f"a state of {loaded.given_knobs.policy!r} is for another search")
        told = loaded.progress.told
        told.update({told_id: cleaned_answer(told_id, told[told_id]) for told_id in told})
        search = cls(loaded.given_knobs, tie_break=tie_break)
        search._state = loaded
        return search

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as plain JSON."""
        return save_search(self._state)

    @property
    def tree(self) -> Forest:
        """Everything proposed and judged so far. Read only."""
        return self._state.forest

    @property
    def is_done(self) -> bool:
        """Whether nothing will be proposed any more."""
        return self._state.progress.stop_reason is not None

    def ask(self, room: Room = _UNLIMITED) -> list[Move]:
        """Return the moves of this round that were not told yet; none when done."""
        progress = self._state.progress
        if not progress.open_round and progress.stop_reason is None:
            self._make_round(room)
        if not progress.told:
            return list(progress.open_round)
        return [each for each in progress.open_round if each.proposal_id not in progress.told]

    def tell(
        self, proposal_id: ProposalId, answer: Drafts | Verdicts | Failure, *, calls: int = 1
    ) -> None:
        """Take the answer to a move. A second answer to it is ignored.

        Args:
            proposal_id: of the move.
            answer: what came of it.
            calls: calls that it took, repairs and retries included; at least 1. Leave it where
                the `room` given to `ask` counts them already.

        Raises:
            ValueError: when nothing with this id was proposed, or `calls` is less than 1.
            TypeError: when the answer is of the wrong sort for the move.
        """
        progress = self._state.progress
        if proposal_id in progress.closed_ids or proposal_id in progress.told:
            return
        for move in progress.open_round:
            if move.proposal_id == proposal_id:
                break
        else:
            raise ValueError(f"nothing was proposed with the id {proposal_id!r}")
        if calls < 1:
            raise ValueError(f"an answer takes at least 1 call, got {calls}")
        wanted = Drafts if side_of(move.kind) is Side.PROPOSER else Verdicts
        if not isinstance(answer, wanted | Failure):
            raise TypeError(
                f"{proposal_id} is answered by {wanted.__name__} or Failure, "
                f"got {type(answer).__name__}"
            )
        progress.told[proposal_id] = cleaned_answer(proposal_id, answer)
        progress.spent_calls += calls - 1
        if len(progress.told) == len(progress.open_round):
            # Gates open on what a judge said: what was just proposed is to be judged first.
            is_judged = any(isinstance(each, JudgeList) for each in progress.open_round)
            take_round(self._state)
            if progress.stop_reason is None:
                progress.stop_reason = self._reason_to_stop(is_judged=is_judged)

    def result(self) -> SearchResult:
        """Return what was found so far: the best posterior mean, and how sure that is."""
        state, progress = self._state, self._state.progress
        order = ranked(state, answers(state), tie_break=self._tie_break)
        best = order[0] if order else None
        return SearchResult(
            best=best,
            stop_reason=progress.stop_reason,
            final_judgement=None,
            rollouts_done=progress.cycles,
            rounds=progress.rounds,
            asked=dict(progress.asked),
            failed=dict(progress.failed),
            tree=state.forest,
            confidence=None if best is None else confidence(state, best),
            guidelines=progress.guidelines,
            planned_cap=progress.planned_cap,
            beliefs={
                node.node_id: belief(node, state.noise)
                for node in state.forest.candidates
                if node.score_count
            },
            survivors=tuple(progress.survivors),
        )

    def _left(self, room: Room) -> Left:
        """Return what may still be spent, by the knobs' cap and the driver's room."""
        state = self._state
        calls = max(state.cap - state.progress.spent_calls, 0)
        if room.is_late:
            calls = 0
        calls = _within(calls, room.max_calls)
        proposer = 0 if state.progress.is_refused else _within(calls, room.max_proposer_calls)
        return Left(calls, proposer, _within(calls, room.max_judge_calls))

    def _make_round(self, room: Room) -> None:
        state, progress = self._state, self._state.progress
        left = self._left(room)
        if progress.planned_cap is None:
            progress.planned_cap = left.calls
        if not left.calls:
            progress.stop_reason = self._what_binds(room, left)
            return
        found = self._strategy.next_round(state, left)
        if not isinstance(found, StopReason) and found:
            self._register(_fitting(found, left))
        elif isinstance(found, StopReason) and found is not StopReason.CAP:
            progress.stop_reason = found
        else:
            progress.stop_reason = self._what_binds(room, left)

    def _register(self, moves: list[Move]) -> None:
        state, progress = self._state, self._state.progress
        progress.open_round = list(moves)
        progress.rounds += 1
        progress.spent_calls += len(moves)
        for move in moves:
            progress.asked[move.kind] = progress.asked.get(move.kind, 0) + 1
            match move:
                case Generate():
                    progress.generations += 1
                case Refine():
                    state.forest.nodes[move.node_ids[0]].expansions += 1
                    for step in state.forest.path_to_start(move.node_ids[0]):
                        step.pending_visits += 1
                case JudgeList():
                    progress.looks += 1
                    for node_id in move.node_ids:
                        state.forest.nodes[node_id].looks += 1
        progress.passes += passes_of(moves)

    def _what_binds(self, room: Room, left: Left) -> StopReason:
        state = self._state
        if room.is_late:
            return StopReason.DEADLINE
        by_knobs = state.cap - state.progress.spent_calls
        is_tight = left.calls < by_knobs or min(left.proposer, left.judge) < left.calls
        return StopReason.BUDGET if is_tight else StopReason.CAP

    def _reason_to_stop(self, *, is_judged: bool) -> StopReason | None:
        """Return why the round just taken in is the last; None while it need not be."""
        state, progress = self._state, self._state.progress
        if progress.empty_rounds >= MAX_EMPTY_ROUNDS and not len(state.forest):
            return StopReason.FAILED
        if progress.deaf_rounds >= MAX_EMPTY_ROUNDS:
            return StopReason.UNJUDGED
        return StopReason.EARLY_EXIT if is_judged and self._is_good_enough() else None

    def _is_good_enough(self) -> bool:
        """Return whether the leader passes all gates, or its score is enough by itself."""
        state, knobs = self._state, self._state.knobs
        if knobs.stop_score is None and not knobs.early_exit.enabled:
            return False
        if knobs.stop_score is None and not self._may_pass_gates():
            return False
        if state.progress.has_steps:  # the lead may be full of these
            known = ranked(state, [node for node in answers(state) if is_heard(node)])
        else:
            known = leading(state, knobs.leaders + 1)
        best = next((node for node in known if not node.draft.is_step), None)
        if best is None or best.verdict is None or best.mean_score is None:
            return False
        if knobs.stop_score is not None and best.mean_score >= knobs.stop_score:
            return True
        if state.progress.cycles < knobs.early_exit.min_rollouts:
            return False
        said = {name: at for name, at in best.verdict.attributes.items() if name in _GATED}
        judged = Judgement(score=min(max(belief(best, state.noise).mean, 0.0), 1.0), **said)
        return not closed_gates(judged, knobs.early_exit)

    def _may_pass_gates(self) -> bool:
        """Return whether any candidate has all that the gates look at: cheaper than a ranking."""
        nodes, front = self._state.forest.nodes, self._state.progress.front
        known = nodes.values() if len(nodes) <= RANKED_WHOLE + 1 else map(nodes.__getitem__, front)
        said = (node.verdict for node in known if node.verdict is not None)
        return any(verdict.attributes.keys() >= _GATES for verdict in said)


def _within(calls: int, limit: int | None) -> int:
    return calls if limit is None else min(calls, max(limit, 0))


def _fitting(moves: list[Move], left: Left) -> list[Move]:
    """Return the first moves that fit together: cap and room hold whatever a strategy wants."""
    fitting: list[Move] = []
    proposer = judge = 0
    for move in moves:
        is_judge = isinstance(move, JudgeList)
        proposer, judge = proposer + (not is_judge), judge + is_judge
        if not left.fits(proposer=proposer, judge=judge):
            break
        fitting.append(move)
    return fitting
