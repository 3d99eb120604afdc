"""How the rounds of a search are answered by a problem's proposer and judge."""

import asyncio
import inspect
import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from numbers import Real
from typing import Any, Generic, TypeVar

from lats.moves import Generate, JudgeList, Move, Refine
from lats.policy import Answer
from lats.problem_parts import Leader, Look, Origin, Problem
from lats.problem_states import StateDrafts
from lats.proposal import Drafts, Failure, Proposal
from lats.search import PosteriorSearch
from lats.tree import NodeId
from lats.verdict import Verdict, Verdicts

__all__ = ["ProblemRounds"]

StateT = TypeVar("StateT")

_SLACK = 1e-9
"""What sums of floats may lie outside [0, 1] by."""

MAX_READ_PER_WANTED = 16
"""Proposed states that are read for each that was asked for."""


class ProblemRounds(Generic[StateT]):
    """Answers the rounds of one search from a problem's functions."""

    def __init__(
        self,
        problem: Problem[StateT],
        drafts: StateDrafts[StateT],
        search: PosteriorSearch,
    ) -> None:
        self._problem = problem
        self._drafts = drafts
        self._search = search

    def _state(self, node_id: NodeId) -> StateT:
        return self._drafts.state(self._search.tree.nodes[node_id].draft)

    async def answer(self, moves: Sequence[Proposal | Move]) -> list[Answer]:
        """Answer a round together. Drafts are made in its order, whoever was first."""
        tasks = [asyncio.ensure_future(self._asked(move)) for move in moves]
        try:
            raw = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._drafts.begin_round(self._search.tree)
        return [self._read(move, said) for move, said in zip(moves, raw, strict=True)]

    async def _asked(self, move: Proposal | Move) -> Any:
        """Return what the problem's function returned, or why it failed."""
        try:
            match move:
                case Generate():
                    origin = Origin[StateT](move.attempt, (), move.guidelines)
                    said = self._problem.propose(self._problem.start, move.k, origin)
                case Refine():
                    leaders = tuple(map(self._leader, move.node_ids))
                    origin = Origin(move.attempt, leaders, move.guidelines)
                    said = self._problem.propose(leaders[0].state, move.k, origin)
                case JudgeList():
                    states = [self._state(node_id) for node_id in move.node_ids]
                    return await _awaited(self._problem.judge(states, Look(move.look, move.rubric)))
                case _:
                    raise TypeError(f"{move.kind} is no move of a problem's search")
            return await _awaited(said)
        except self._problem.refusals as error:
            return Failure(is_refused=True, detail=f"{type(error).__name__}: {error}")
        except self._problem.failures as error:
            return Failure(detail=f"{type(error).__name__}: {error}")

    def _leader(self, node_id: NodeId) -> Leader[StateT]:
        node = self._search.tree.nodes[node_id]
        return Leader(self._drafts.state(node.draft), node.mean_score, node.verdict)

    def _read(self, move: Proposal | Move, said: Any) -> Answer:
        if isinstance(said, Failure):
            return said
        if isinstance(move, JudgeList):
            return self._verdicts(move, said)
        if not isinstance(move, Generate | Refine):
            raise TypeError(f"{move.kind} is no move of a problem's search")
        states = islice(_items(said, "propose", "states"), MAX_READ_PER_WANTED * move.k)
        return Drafts(drafts=tuple(self._drafts.draft(each, source="propose") for each in states))

    def _verdicts(self, move: JudgeList, said: Any) -> Verdicts:
        asked = len(move.node_ids)
        scores = list(islice(_items(said, "judge", "scores"), asked + 1))
        if len(scores) != asked:
            got = "more" if len(scores) > asked else str(len(scores))
            raise ValueError(
                f"judge returned {got} scores for {asked} states; give None for a state that "
                "has none"
            )
        found = {}
        for node_id, score in zip(move.node_ids, scores, strict=True):
            verdict = _verdict(score, self._search.tree.nodes[node_id].draft.reply)
            if verdict is not None:
                found[node_id] = verdict
        return Verdicts(found)


async def _awaited(said: Any) -> Any:
    return await said if inspect.isawaitable(said) else said


def _items(said: Any, who: str, what: str) -> Iterable[Any]:
    if isinstance(said, str | bytes | Mapping) or not isinstance(said, Iterable):
        raise TypeError(f"{who} returned {reprlib.repr(said)}, expected {what} in a list")
    return said


def _verdict(score: Any, reply: str) -> Verdict | None:
    if score is None or isinstance(score, Verdict):
        return score
    if not isinstance(score, Real):
        raise TypeError(
            f"judge scored {reply[:40]!r} {reprlib.repr(score)}; expected a figure in [0, 1], a "
            "Verdict, or None"
        )
    figure = float(score)
    if math.isnan(figure):
        return None
    if not -_SLACK <= figure <= 1 + _SLACK:
        raise ValueError(f"judge scored {reply[:40]!r} {figure}; expected a figure in [0, 1]")
    return Verdict(score=min(max(figure, 0.0), 1.0))
