"""A run as text, Markdown, CSV or JSON, with a headline."""

import json
from dataclasses import asdict
from typing import Any, Literal

from callwise.calls.call import Outcome
from callwise.report.run_record import RunRecord
from callwise.report.run_tables import ReportTables, summarise
from callwise.report.table import (
    Table,
    cell_text,
    escaped_markdown,
    markdown_table,
    max_rows_of,
    table_json,
    tables_text,
    to_csv,
)
from callwise.report.totals import Spread, Totals, UsageSums
from callwise.safe_text import printable_lines
from callwise.text_layout import EVERYTHING, Screen, wrapped_lines

__all__ = [
    "brief_text",
    "degraded_line",
    "render",
    "to_json",
    "to_markdown",
    "to_text",
    "totals_json",
    "trouble_lines",
]

MAX_CAUSES = 5
"""Causes of degraded turns that are named; the rest is counted."""


def _spread(name: str, spread: Spread | None) -> list[str]:
    if spread is None:
        return []
    figures = [f"{label} {cell_text(value)}" for label, value in asdict(spread).items()]
    return [f"{name}: {', '.join(figures)}"]


def _counted(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def _outcomes(sums: UsageSums) -> str:
    ended = [f"{count:,} {outcome.value}" for outcome, count in sums.outcomes.items() if count]
    words = f"{_counted(sums.asked, 'call')} asked = {' + '.join(ended) or '0'}"
    if sums.unreadable:
        words += f"; {_counted(sums.unreadable, 'unreadable answer')}"
    if sums.repairs:
        words += f"; {_counted(sums.repairs, 'repair')}"
    return words


def _spent(sums: UsageSums) -> str:
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


def _over(sums: UsageSums) -> list[str]:
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
    causes = [
        f"{cell_text(name.removeprefix('- '))} ({n:,})"
        for name, n in totals.degraded_causes.items()
    ]
    more = len(causes) - MAX_CAUSES
    shown = ", ".join(causes[:MAX_CAUSES]) + (f" and {more} more" if more > 0 else "")
    return f"{totals.degraded_turns:,} of {_counted(totals.turns, 'turn')} degraded: {shown}"


def trouble_lines(totals: Totals) -> list[str]:
    """Return degraded turns and unreadable answers of a run, one line each."""
    lines = [degraded_line(totals)] if totals.degraded_turns else []
    if totals.unreadable_turns:
        turns = _counted(totals.turns, "turn")
        answers = _counted(totals.sums.unreadable, "answer")
        lines.append(f"{answers} unreadable, in {totals.unreadable_turns:,} of {turns}")
    return lines


def headline(tables: ReportTables) -> list[str]:
    """Return a run in a few lines of plain text."""
    totals = tables.totals
    degraded = [degraded_line(totals)] if totals.degraded_turns else []
    lines = [_turns(totals), *degraded, _outcomes(totals.sums), _spent(totals.sums)]
    lines += _over(totals.sums)
    lines += _spread("calls per turn", totals.calls_per_turn)
    if totals.sums.outcomes[Outcome.REFUSED]:
        lines += _spread("also refused, per turn", totals.refused_per_turn)
    lines += _spread("rounds to the reply", totals.rounds_to_reply)
    lines += _spread("rounds to the end of the turn", totals.rounds_per_turn)
    lines += _spread(f"{totals.seconds_name} to the reply", totals.reply_seconds)
    lines += _spread(f"{totals.seconds_name} to the end of the turn", totals.turn_seconds)
    if totals.wall_seconds is not None:
        lines.append(f"wall clock: {totals.wall_seconds:.2f} s")
    return lines


Form = Literal["text", "markdown", "csv", "json"]

TableName = Literal[
    "all", "node", "role", "purpose", "turn", "call", "plan", "time", "judges", "models"
]

_NO_JUDGES = Table("judges", "The run records no judge of a search", ("figure",), ())
_NO_MODELS = Table("models", "No policy chose the model of any call of the run", ("figure",), ())
_NO_PLAN = Table("plan", "The run has no plan, or no turn to compare with it", ("figure",), ())


def _chosen(tables: ReportTables, name: TableName) -> list[Table]:
    """Return the tables that a name asks for; for `all` the one by node."""
    if name == "plan":
        both = (tables.against_plan, tables.scenarios)
        return [table for table in both if table is not None] or [_NO_PLAN]
    if name == "judges":
        return [tables.judges or _NO_JUDGES]
    if name == "models":
        return [tables.models or _NO_MODELS]
    by_name = {each.name.removeprefix("by_"): each for each in (*tables.tables(), tables.by_call)}
    return [by_name["node" if name == "all" else name]]


def render(
    run: RunRecord,
    *,
    form: Form = "text",
    table: TableName = "all",
    screen: Screen = EVERYTHING,
) -> str:
    """Return a run as text that ends with a newline.

    Args:
        run: from `load_run`.
        form: CSV has one table, and so has JSON unless all are asked for: of the plan's
            two the one with its figures.
        table: which table; `all` is the one by node in CSV.
        screen: where text is shown; other forms have every column.
    """
    tables = summarise(run.rows, run.turns, plan=run.plan, is_simulated=run.is_simulated)
    if table == "all" and form != "csv":
        if form == "text":
            return to_text(tables, screen=screen)
        return to_json(tables) if form == "json" else to_markdown(tables)
    chosen = _chosen(tables, table)
    match form:
        case "csv":
            return to_csv(chosen[0])
        case "json":
            return json.dumps(table_json(chosen[0]), ensure_ascii=False, allow_nan=False) + "\n"
        case "markdown":
            return "\n".join(map(markdown_table, chosen))
        case "text":
            return tables_text(chosen, screen=screen)


def _json(spread_: Spread | None) -> dict[str, Any] | None:
    return None if spread_ is None else spread_.as_json()


def totals_json(tables: ReportTables) -> dict[str, Any]:
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
        "rounds": {"reply": _json(totals.rounds_to_reply), "turn": _json(totals.rounds_per_turn)},
        "path_seconds": {
            "reply": _json(totals.reply_seconds),
            "turn": _json(totals.turn_seconds),
        },
        "wall_seconds": None if totals.wall_seconds is None else round(totals.wall_seconds, 6),
        "simulated": totals.is_simulated,
    }


def to_json(tables: ReportTables) -> str:
    """Return the totals and all tables as one JSON object in one line."""
    document = {
        "totals": totals_json(tables),
        "tables": {table.name: table_json(table) for table in tables.tables()},
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n"


def to_markdown(tables: ReportTables) -> str:
    """Return the headline and all tables as Markdown."""
    every = tables.tables()
    parts = ["".join(f"- {escaped_markdown(line)}\n" for line in headline(tables))]
    parts += [markdown_table(table, max_rows=max_rows_of(table, every)) for table in every]
    return "\n".join(parts)


def _headline_text(tables: ReportTables, screen: Screen) -> str:
    return wrapped_lines(printable_lines("\n".join(headline(tables))), screen)


def brief_text(tables: ReportTables, *, screen: Screen = EVERYTHING) -> str:
    """Return the headline, calls by node, and the plan's scenarios."""
    shown = [table for table in (tables.by_node, tables.scenarios) if table is not None]
    return f"{_headline_text(tables, screen)}\n\n{tables_text(shown, screen=screen)}"


def to_text(tables: ReportTables, *, screen: Screen = EVERYTHING) -> str:
    """Return the headline and all tables for a screen; see `screen_of`."""
    return f"{_headline_text(tables, screen)}\n\n{tables_text(tables.tables(), screen=screen)}"
