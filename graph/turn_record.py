"""A finished turn as one record and its ledger rows, as run folders have them."""

from collections.abc import Mapping, Sequence

from callwise.budget.ledger_row import LedgerRow
from callwise.budget.recorder import scope_in_arm
from callwise.budget.scope import Scope
from callwise.calls.call import Role
from callwise.calls.errors import AuthFailed, ConnectionFailed, EndpointDown
from callwise.recordings.app_protocol import TurnInput, TurnResult
from graph.drivers import predecessors
from graph.engine import LAST_OF_REPLY, Engine
from graph.fusing import steps_down
from graph.state import TurnState, collect_degraded
from nodes.prompt import clip
from nodes.records import Degradation, Persona

__all__ = ["in_arm", "persona_of", "rows_of_turn", "turn_result"]

MAX_DETAIL_CHARS = 300
"""Longest explanation of why an endpoint is down, in characters."""

_DOWN = frozenset(kind.__name__ for kind in (AuthFailed, ConnectionFailed, EndpointDown))
"""Errors after which an endpoint is down: it was not reached, or refused the key."""


def persona_of(given: Mapping[str, str] | None) -> dict[str, str]:
    """Return the fields of a persona that the pipeline has."""
    known = Persona.model_fields
    return {name: text for name, text in (given or {}).items() if name in known}


def _roles_down(rows: Sequence[LedgerRow]) -> list[Degradation]:
    """Return each role of a turn, by its rows in order, whose endpoint is down at the turn's end.

    A role that was answered after its last failure is not down; its node reports that failure.
    """
    first_failure: dict[Role, LedgerRow] = {}
    for row in rows:
        if row.error_name in _DOWN:
            first_failure.setdefault(row.role, row)
        elif row.error is None or row.is_unreadable:
            first_failure.pop(row.role, None)
    return [
        Degradation(
            node=row.node or "-",
            reason="down",
            detail=clip(
                f"{role} at {row.endpoint} is down: {(row.error or '').partition(': ')[2]}",
                MAX_DETAIL_CHARS,
            ),
            role=role.value,
            endpoint=row.endpoint,
        )
        for role, row in first_failure.items()
    ]


def rows_of_turn(engine: Engine, turn: Scope) -> list[LedgerRow]:
    """Take a turn's rows out, in the order of the nodes, and in a node as asked.

    Nodes that run side by side ask in an order that depends on the speed of answers; the
    ledger of a turn should not.
    """
    rows = turn.take_rows()
    settings, nodes = engine.settings, engine.nodes
    order = predecessors(overlap=settings.overlap, fuse=settings.fuse, nodes=nodes)
    places = {name: place for place, name in enumerate(order)}
    sequences = sorted(row.sequence for row in rows)
    rows.sort(key=lambda row: (places.get(row.node or "", 0), row.sequence))
    pairs = zip(rows, sequences, strict=True)
    return [row._replace(sequence=sequence) for row, sequence in pairs]


def turn_result(
    engine: Engine,
    turn: TurnInput,
    state: TurnState,
    scope: Scope,
    rows: Sequence[LedgerRow],
    *,
    is_simulated: bool,
) -> TurnResult:
    """Return a finished turn as its record and its rows.

    Args:
        state: at the end of the turn.
        scope: of the turn, closed.
        rows: of the turn, in order; see `rows_of_turn`.
        is_simulated: whether all answers are.
    """
    degraded = collect_degraded(state.degraded, _roles_down(rows))
    counts = scope.counts().as_dict()
    if counts["unknown_usd"]:
        counts["usd"] = None  # unknown is not free
    until_reply = scope.end_of(LAST_OF_REPLY)
    persona = {"persona": persona_of(turn.persona)} if turn.persona else {}
    record = {
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
        "degraded": [row.model_dump(mode="json", exclude_none=True) for row in degraded],
        "wound_down": [
            row.model_dump(mode="json")
            for row in steps_down(state.fusing, state.search, engine.settings.search)
        ],
        "search": state.search,
        **counts,
        "rounds": {"reply": until_reply.round, "turn": scope.rounds},
        "path_seconds": {
            "reply": round(until_reply.seconds, 6),
            "turn": round(scope.path_seconds, 6),
        },
    }
    record["simulated"] = is_simulated or any(row.is_simulated for row in rows)
    return TurnResult(record=record, rows=[row.as_dict() for row in rows])


def in_arm(arm: str, result: TurnResult) -> TurnResult:
    """Return a turn's result with the arm in its record and in its rows."""
    rows, outside = (
        [{**row, "scope": scope_in_arm(row["scope"], arm), "arm": arm} for row in part]
        for part in (result.rows, result.outside)
    )
    return TurnResult(record={**result.record, "arm": arm}, rows=rows, outside=outside)
