"""What a node gets beside the state: the engine, and who listens for the reply."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from graph.engine import Engine
from graph.order import NODES
from graph.settings import SamplingKnobs, sampled
from graph.state import TurnState
from turnwise.budget.scope import Scope, ScopeKind
from turnwise.calls import Advisory, Asker, Call, CallError, Reply
from turnwise.memory import AgentUser
from turnwise.replay.app import ReplyListener

__all__ = ["TurnContext"]


@dataclass(frozen=True, slots=True)
class _PipelineAsker:
    """The budgeter with what the knobs and the wiring add to a node's calls."""

    asker: Asker
    max_repairs: int
    sampling: Mapping[str, SamplingKnobs]
    lease: str | None
    keeps_repairs: bool = False

    def _completed(self, call: Call) -> Call:
        call = sampled(call, self.sampling)
        lease = call.lease or self.lease
        max_repairs = self.max_repairs
        if self.keeps_repairs:
            max_repairs = min(call.max_repairs, max_repairs)
        if call.max_repairs == max_repairs and call.lease == lease:
            return call
        return replace(call, max_repairs=max_repairs, lease=lease)

    async def ask(self, call: Call) -> Reply:
        return await self.asker.ask(self._completed(call))

    async def ask_all(
        self, calls: Sequence[Call], *, max_concurrency: int | None = None
    ) -> list[Reply | CallError]:
        changed = [self._completed(call) for call in calls]
        return await self.asker.ask_all(changed, max_concurrency=max_concurrency)

    def advisory(self) -> Advisory:
        return self.asker.advisory()


@dataclass(frozen=True, slots=True)
class TurnContext:
    """One turn's context.

    Args:
        engine: what all turns share.
        on_reply: told the reply as soon as it is out, before the bookkeeping.
    """

    engine: Engine
    on_reply: ReplyListener | None = None

    @property
    def asker(self) -> Asker:
        """Who answers the nodes' calls."""
        return self.asker_with()

    def asker_with(self, lease: str | None = None, *, keeps_repairs: bool = False) -> Asker:
        """Return who answers the nodes' calls.

        Args:
            lease: a lease of the turn that they may draw on.
            keeps_repairs: leave a call that allows fewer repairs than the knobs as it is.
        """
        settings = self.engine.settings
        return _PipelineAsker(
            self.engine.budgeter,
            max_repairs=settings.repair.max_repairs,
            sampling=settings.sampling,
            lease=lease,
            keeps_repairs=keeps_repairs,
        )

    @staticmethod
    def agent_user(state: TurnState) -> AgentUser:
        """Return whose memory the turn uses."""
        return AgentUser(state.agent_id, state.user_id)

    async def _turn_scope(self, state: TurnState, name: str) -> Scope:
        """Return the turn's scope; the first node opens it where nobody has.

        Whoever runs one turn at a time (`graph.session`) opens it before; a graph server
        just runs the nodes, each in a context of its own.
        """
        engine = self.engine
        scope = engine.turn(state.conversation_id)
        if scope is not None and (name != NODES[0] or scope.turn == str(state.requested_turn)):
            return scope
        turn = state.requested_turn
        if name != NODES[0]:
            turn = state.turn  # a turn that is resumed in another process, past its beginning
        elif turn is None:
            turn = await engine.next_turn(self.agent_user(state), state.conversation_id)
        return engine.open_turn(state.conversation_id, turn)

    @asynccontextmanager
    async def node(
        self, state: TurnState, name: str, *, after: Sequence[str]
    ) -> AsyncIterator[Scope]:
        """Enter a node's scope.

        Args:
            state: the turn's state.
            name: the node.
            after: the nodes that it waited for.
        """
        turn = await self._turn_scope(state, name)
        with turn.open(ScopeKind.NODE, name, after=after) as scope:
            yield scope
