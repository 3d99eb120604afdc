"""A run in one object: what `turnwise replay --json` ends with."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from turnwise.calls.call import Role
from turnwise.report.lines import CallLine, TurnKey, TurnLine
from turnwise.report.sums import CallSums, Spread, spread, sum_calls

if TYPE_CHECKING:
    from turnwise.report.tables import ReportTables

__all__ = ["Totals", "total", "totals_json"]


@dataclass(frozen=True, slots=True)
class Totals:
    """A run in figures.

    Args:
        turns: finished turns.
        replies: those of them with a reply.
        degraded_turns: those in which a node went on without its call.
        degraded_causes: degraded turns by cause, the most frequent first; a turn may have
            several causes.
        unreadable_turns: those with an answer that is not in the form that was asked for.
        cut_turns: those in which a limit refused a call.
        wound_down_turns: those that gave something up for want of calls.
        sums: over all calls.
        by_node: asked calls by node, in the order in which nodes first asked.
        by_role: asked calls by role.
        by_purpose: asked calls by purpose, in the order in which they were first asked.
        calls_per_turn: spread of the calls of each turn, refused ones left out; None without
            turns.
        refused_per_turn: spread of the calls that a limit refused in each turn.
        rounds_to_reply: spread of rounds until the reply; None when turns do not say.
        rounds_a_turn: spread of rounds until the end of the turn.
        reply_seconds: spread of the longest chain's time until the reply.
        turn_seconds: spread of the longest chain's time until the end of the turn.
        wall_seconds: time that the process took; None when not known.
        is_simulated: whether a simulated model answered any of it.
    """

    turns: int
    replies: int
    degraded_turns: int
    degraded_causes: dict[str, int]
    unreadable_turns: int
    cut_turns: int
    wound_down_turns: int
    sums: CallSums
    by_node: dict[str, int]
    by_role: dict[Role, int]
    by_purpose: dict[str, int]
    calls_per_turn: Spread | None
    refused_per_turn: Spread | None
    rounds_to_reply: Spread | None
    rounds_a_turn: Spread | None
    reply_seconds: Spread | None
    turn_seconds: Spread | None
    wall_seconds: float | None
    is_simulated: bool


def _known_spread(values: Iterable[float | None]) -> Spread | None:
    return spread([value for value in values if value is not None])


def total(
    rows: Sequence[CallLine], turns: Sequence[TurnLine], *, wall_seconds: float | None = None
) -> Totals:
    """Return a run in figures.

    Args:
        rows: its calls.
        turns: its finished turns.
        wall_seconds: time that the process took; None when not known.
    """
    is_refused = {True: Counter[TurnKey | None](), False: Counter[TurnKey | None]()}
    for row in rows:
        is_refused[row.is_refused][row.turn_key] += 1
    refused_of, made_of = is_refused[True], is_refused[False]
    role_counts = Counter(row.role for row in rows)
    causes = Counter(cause for turn in turns for cause in turn.degraded_causes)
    unreadable = {row.turn_key for row in rows if row.is_unreadable}
    return Totals(
        turns=len(turns),
        replies=sum(bool(turn.reply.strip()) for turn in turns),
        degraded_turns=sum(bool(turn.degraded) for turn in turns),
        degraded_causes=dict(causes.most_common()),
        unreadable_turns=sum(turn.key in unreadable for turn in turns),
        cut_turns=sum(refused_of[turn.key] > 0 for turn in turns),
        wound_down_turns=sum(bool(turn.wound_down) for turn in turns),
        sums=sum_calls(rows),
        by_node=dict(Counter(row.node or "-" for row in rows)),
        by_role={role: role_counts[role] for role in Role if role_counts[role]},
        by_purpose=dict(Counter(row.purpose.value for row in rows)),
        calls_per_turn=spread([made_of[turn.key] for turn in turns]),
        refused_per_turn=spread([refused_of[turn.key] for turn in turns]),
        rounds_to_reply=_known_spread(turn.spans[0] for turn in turns),
        rounds_a_turn=_known_spread(turn.spans[1] for turn in turns),
        reply_seconds=_known_spread(turn.spans[2] for turn in turns),
        turn_seconds=_known_spread(turn.spans[3] for turn in turns),
        wall_seconds=wall_seconds,
        is_simulated=any(turn.simulated for turn in turns),
    )


def _json(spread_: Spread | None) -> dict[str, Any] | None:
    return None if spread_ is None else spread_.as_json()


def totals_json(tables: "ReportTables") -> dict[str, Any]:
    """Return a report's totals as plain JSON. What is not known is null, never 0."""
    totals = tables.totals
    sums = totals.sums
    return {
        "turns": totals.turns,
        "replies": totals.replies,
        "degraded_turns": totals.degraded_turns,
        "degraded_causes": dict(totals.degraded_causes),
        "unreadable_turns": totals.unreadable_turns,
        "cut_turns": totals.cut_turns,
        "wound_down_turns": totals.wound_down_turns,
        "asked": sums.asked,
        "outcomes": {outcome.value: count for outcome, count in sums.outcomes.items()},
        "requests": sums.usage.requests,
        "sent": sums.usage.sent,
        "attempts": sums.usage.attempts,
        "speculative": sums.speculative,
        "unreadable": sums.unreadable,
        "repairs": sums.repairs,
        "tokens": {
            "input": sums.usage.input_tokens,
            "output": sums.usage.output_tokens,
            "cached": sums.usage.cached_tokens,
            "total": sums.usage.input_tokens + sums.usage.output_tokens,
            "unknown_usage": sums.usage.unknown_usage,
        },
        "usd": sums.usd,
        "usd_known": sums.usd_known,
        "over_reservation": {
            "calls": sums.over_calls,
            "tokens": sums.usage.over_tokens,
            "usd": sums.usage.over_usd,
        },
        "by_node": dict(totals.by_node),
        "by_role": {role.value: count for role, count in totals.by_role.items()},
        "by_purpose": dict(totals.by_purpose),
        "calls_per_turn": _json(totals.calls_per_turn),
        "refused_per_turn": _json(totals.refused_per_turn),
        "rounds": {"reply": _json(totals.rounds_to_reply), "turn": _json(totals.rounds_a_turn)},
        "path_seconds": {
            "reply": _json(totals.reply_seconds),
            "turn": _json(totals.turn_seconds),
        },
        "wall_seconds": None if totals.wall_seconds is None else round(totals.wall_seconds, 6),
        "simulated": totals.is_simulated,
    }
