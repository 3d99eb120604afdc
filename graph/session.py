"""One session: turns run one after another or side by side, on one engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graph.context import TurnContext
from graph.direct import run_directly
from graph.engine import Engine
from graph.order import predecessors
from graph.state import TurnState
from graph.wind_down import steps_down
from graph.wiring import ReplyGraph
from nodes.records import Persona
from turnwise.budget.ledger_row import LedgerRow
from turnwise.budget.scope import Scope
from turnwise.memory import AgentUser
from turnwise.replay.app import Notices, ReplyListener, TurnInput, TurnResult

__all__ = ["ReplySession"]


def _persona(given: Mapping[str, str] | None) -> dict[str, str]:
    known = Persona.model_fields
    return {name: text for name, text in (given or {}).items() if name in known}


@dataclass(slots=True)
class ReplySession:
    """An open reply pipeline.

    Args:
        engine: what all turns share.
        graph: the compiled graph.
        is_simulated: whether every answer is simulated.
        rows: the ledger rows that were written and not yet handed out.
        is_checkpointed: whether the graph keeps checkpoints, one thread a conversation.
        is_direct: run the graph's steps without the graph; see `direct`.
        notices: what a person should know of it.
    """

    engine: Engine
    graph: ReplyGraph
    is_simulated: bool
    rows: list[LedgerRow]
    is_checkpointed: bool = False
    is_direct: bool = False
    notices: Notices = field(default_factory=Notices)

    async def run_turn(
        self, turn: TurnInput, *, on_reply: ReplyListener | None = None
    ) -> TurnResult:
        """Answer one user message and do the bookkeeping after it.

        Raises:
            CallError: a fatal one: a wrong key, a call that the recording lacks.
            StoreFailed: when memory cannot be read or written; the turn is not kept.
        """
        engine = self.engine
        number = turn.turn
        if number is None:
            agent_user = AgentUser(engine.settings.agent_id, turn.user_id)
            number = await engine.next_turn(agent_user, turn.conversation_id)
        scope = engine.open_turn(turn.conversation_id, number)
        try:
            given = {
                "agent_id": engine.settings.agent_id,
                "user_id": turn.user_id,
                "conversation_id": turn.conversation_id,
                "requested_turn": number,
                "user_text": turn.user_text,
                "time": turn.time,
                "persona": _persona(turn.persona),
            }
            state = await self._run(given, TurnContext(engine, on_reply))
        finally:
            engine.close_turn(turn.conversation_id)
            rows = self._take_rows(turn.conversation_id, number)
        record = self._record(turn, state, scope)
        record["simulated"] = self.is_simulated or any(row["is_simulated"] for row in rows)
        return TurnResult(record=record, rows=rows)

    async def _run(self, given: dict[str, Any], context: TurnContext) -> TurnState:
        if self.is_direct:
            return await run_directly(given, context)
        turn_input: Any = given
        values = await self.graph.ainvoke(
            turn_input,
            {"configurable": {"thread_id": given["conversation_id"]}},
            context=context,
            # One checkpoint, at the end of the turn: a turn is all or nothing.
            durability="exit" if self.is_checkpointed else None,
        )
        return TurnState.model_validate(values)

    def _take_rows(self, conversation_id: str, turn: int) -> list[dict[str, Any]]:
        """Take this turn's rows out, in the order of the nodes, and in a node as asked.

        Nodes that run side by side ask in an order that depends on who was answered
        first; the ledger of a turn should not.
        """
        mine: list[LedgerRow] = []
        others: list[LedgerRow] = []
        for row in self.rows:
            is_mine = row.conversation == conversation_id and row.turn == str(turn)
            (mine if is_mine else others).append(row)
        self.rows[:] = others
        settings = self.engine.settings
        order = list(predecessors(overlap=settings.overlap, fuse=settings.fuse))
        places = {name: place for place, name in enumerate(order)}
        sequences = sorted(row.sequence for row in mine)
        mine.sort(key=lambda row: (places.get(row.node or "", 0), row.sequence))
        return [
            {**row.as_dict(), "sequence": sequence}
            for row, sequence in zip(mine, sequences, strict=True)
        ]

    def _record(self, turn: TurnInput, state: TurnState, scope: Scope) -> dict[str, Any]:
        counts = scope.counts().as_dict()
        if counts["unknown_usd"]:
            counts["usd"] = None  # unknown is not free
        until_reply = scope.end_of("final_validator")
        persona = {"persona": _persona(turn.persona)} if turn.persona else {}
        return {
            "conversation_id": turn.conversation_id,
            "turn": state.turn,
            "user_id": turn.user_id,
            "time": turn.time,
            **persona,
            "language": state.language,
            "user_text": turn.user_text,
            "reply": state.reply,
            "bubbles": [bubble.model_dump() for bubble in state.bubbles],
            "is_fallback": not state.draft,
            "stage": state.relationship.stage.value,
            "mode": state.mode.value,
            "violations": state.violations,
            "notes": len(state.notes),
            "dropped_notes": state.dropped_notes,
            "degraded": [row.model_dump(mode="json") for row in state.degraded],
            "wound_down": [
                row.model_dump(mode="json")
                for row in steps_down(state.fusing, state.search, self.engine.settings.search)
            ],
            "search": state.search,
            **counts,
            "rounds": {"reply": until_reply.round, "turn": scope.rounds},
            "path_seconds": {
                "reply": round(until_reply.seconds, 6),
                "turn": round(scope.path_seconds, 6),
            },
        }
