"""A run in a few lines, for people."""

from typing import TYPE_CHECKING

from turnwise.calls.call import Outcome
from turnwise.report.cells import cell_text
from turnwise.report.sums import CallSums, Spread
from turnwise.report.totals import Totals

if TYPE_CHECKING:
    from turnwise.report.tables import ReportTables

__all__ = ["degraded_line", "headline", "trouble_lines"]

MAX_CAUSES = 5
"""Causes of degraded turns that are named; the rest is counted."""


def _spread(name: str, spread: Spread | None) -> list[str]:
    if spread is None:
        return []
    figures = [
        f"{label} {cell_text(value)}"
        for label, value in (
            ("mean", spread.mean),
            ("p50", spread.p50),
            ("p95", spread.p95),
            ("max", spread.max),
        )
    ]
    return [f"{name}: {', '.join(figures)}"]


def _counted(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def _outcomes(sums: CallSums) -> str:
    ended = [f"{count:,} {outcome.value}" for outcome, count in sums.outcomes.items() if count]
    words = f"{_counted(sums.asked, 'call')} asked = {' + '.join(ended) or '0'}"
    if sums.unreadable:
        words += f"; {_counted(sums.unreadable, 'unreadable answer')}"
    if sums.repairs:
        words += f"; {_counted(sums.repairs, 'repair')}"
    return words


def _spent(sums: CallSums) -> str:
    tokens = f"{sums.usage.input_tokens:,} tokens in, {sums.usage.output_tokens:,} out"
    if sums.usage.unknown_usage:
        tokens += f" and unknown for {_counted(sums.usage.unknown_usage, 'request')}"
    if sums.usd is not None:
        cost = f"{sums.usd:.6f} USD"
    elif sums.usd_known:
        cost = f"USD unknown ({sums.usd_known:.6f} of it known)"
    else:
        cost = "USD unknown"
    # What a replay shows was paid when it was recorded.
    paid = " (as recorded)" if sums.outcomes[Outcome.REPLAYED] else ""
    requests = _counted(sums.usage.requests, "request")
    if sums.usage.sent != sums.usage.requests:
        requests += f" ({sums.usage.sent:,} sent now)"
    return f"{requests}, {_counted(sums.usage.attempts, 'attempt')}; {tokens}; {cost}{paid}"


def _over(sums: CallSums) -> list[str]:
    if not sums.over_calls:
        return []
    calls, tokens = _counted(sums.over_calls, "call"), _counted(sums.usage.over_tokens, "token")
    return [f"billed beyond what was reserved: {calls}, {tokens}, {sums.usage.over_usd:.6f} USD"]


def _turns(totals: Totals) -> str:
    words = f"{_counted(totals.turns, 'turn')}, {_counted(totals.replies, 'reply', 'replies')}"
    if totals.cut_turns:
        words += f", {_counted(totals.cut_turns, 'turn')} cut by a limit"
    if totals.wound_down_turns:
        words += f", {_counted(totals.wound_down_turns, 'turn')} wound down for want of calls"
    return words + (" (simulated)" if totals.is_simulated else "")


def degraded_line(totals: Totals) -> str:
    """Return how many turns are degraded and by what, for people; empty where none is."""
    if not totals.degraded_turns:
        return ""
    causes = [f"{cell_text(name)} ({n:,})" for name, n in totals.degraded_causes.items()]
    more = len(causes) - MAX_CAUSES
    shown = ", ".join(causes[:MAX_CAUSES]) + (f" and {more} more" if more > 0 else "")
    return f"{totals.degraded_turns:,} of {_counted(totals.turns, 'turn')} degraded: {shown}"


def trouble_lines(totals: Totals) -> list[str]:
    """Return what a run's turns went on without and could not read, a line each."""
    lines = [degraded_line(totals)] if totals.degraded_turns else []
    if totals.unreadable_turns:
        turns = _counted(totals.turns, "turn")
        answers = _counted(totals.sums.unreadable, "answer")
        lines.append(f"{answers} unreadable, in {totals.unreadable_turns:,} of {turns}")
    return lines


def headline(tables: "ReportTables") -> list[str]:
    """Return a run in a few lines of plain text."""
    totals = tables.totals
    lines = [_turns(totals)]
    lines += filter(None, [degraded_line(totals)])
    lines += [_outcomes(totals.sums), _spent(totals.sums), *_over(totals.sums)]
    lines += _spread("calls per turn", totals.calls_per_turn)
    if totals.sums.outcomes[Outcome.REFUSED]:
        lines += _spread("refused besides, per turn", totals.refused_per_turn)
    lines += _spread("rounds to the reply", totals.rounds_to_reply)
    lines += _spread("rounds to the end of the turn", totals.rounds_a_turn)
    lines += _spread("seconds to the reply", totals.reply_seconds)
    lines += _spread("seconds to the end of the turn", totals.turn_seconds)
    if totals.wall_seconds is not None:
        lines.append(f"wall clock: {totals.wall_seconds:.2f} s")
    return lines
