"""The page's first view as HTML: a run's totals, and how it compares, readable without a script."""

from collections.abc import Sequence

from turnwise.report.cells import Table, cell_text
from turnwise.report.headline import degraded_line
from turnwise.report.page.comparing import Pairing
from turnwise.report.page.gathered import GatheredRun
from turnwise.report.page.plain import mapping, text
from turnwise.report.page.shown_text import shown_html
from turnwise.report.page.tables_html import table_html
from turnwise.report.sums import Spread

__all__ = ["about_html", "overview_html", "simulated_html"]


def simulated_html(run: GatheredRun, other: GatheredRun | None) -> str:
    """Return the label of simulated results; empty where nothing was simulated."""
    sides = [("This run", run), *([] if other is None else [("The other run", other)])]
    names = [name for name, each in sides if each.record.is_simulated]
    if not names:
        return ""
    which = names[0] if len(names) == 1 else "Both runs"
    verb = "is" if len(names) == 1 else "are"
    return (
        f'<p class="simulated" role="note"><strong>Simulated.</strong> {which} {verb} answered by '
        "a simulated model: that proves counting, not language.</p>"
    )


def about_html(run: GatheredRun, other: GatheredRun | None) -> str:
    """Return in one line what the page is of."""
    manifest = run.record.manifest
    app = text(mapping(manifest.get("identity")).get("app"))
    parts = ["simulated" if run.record.is_simulated else ""]
    parts += [f"preset {run.preset}" if run.preset else "", app, text(manifest.get("started"))]
    if other is not None:
        preset = f" (preset {other.preset})" if other.preset else ""
        parts.append(f"beside {other.name}{preset}")
    return " · ".join(shown_html(part) for part in parts if part)


def _spread(name: str, spread: Spread | None) -> list[tuple[str, str, str]]:
    if spread is None:
        return []
    under = f"p95 {cell_text(spread.p95)}, most {cell_text(spread.max)}"
    return [(name, cell_text(spread.mean), under)]


def _tile(name: str, figure: str, under: str) -> str:
    kind = ' class="unknown"' if figure == "unknown" else ""
    small = f"<small>{under}</small>" if under else ""
    return f"<div><dt>{name}</dt><dd{kind}>{figure}{small}</dd></div>"


def _tiles(run: GatheredRun) -> str:
    totals = run.tables.totals
    sums, usage = totals.sums, totals.sums.usage
    ended = ", ".join(f"{count:,} {kind.value}" for kind, count in sums.outcomes.items() if count)
    unknown = f"unknown for {usage.unknown_usage:,} requests" if usage.unknown_usage else ""
    known = (
        f"{cell_text(sums.usd_known)} of it known" if sums.usd is None and sums.usd_known else ""
    )
    degraded = f"{totals.degraded_turns:,} degraded, {totals.wound_down_turns:,} wound down"
    unreadable = f"{sums.unreadable:,} unreadable, {sums.repairs:,} repairs"
    tiles = [
        ("turns", f"{totals.turns:,}", degraded),
        ("calls", f"{sums.asked:,}", f"{ended}; {unreadable}" if ended else unreadable),
        *_spread("calls a turn", totals.calls_per_turn),
        *(_spread("refused a turn", totals.refused_per_turn) if totals.cut_turns else []),
        ("requests", f"{usage.requests:,}", f"{usage.attempts:,} attempts"),
        ("tokens in", f"{usage.input_tokens:,}", unknown),
        ("tokens out", f"{usage.output_tokens:,}", ""),
        ("USD", cell_text(sums.usd), known),
        *_spread("rounds to the reply", totals.rounds_to_reply),
        *_spread("seconds to the reply", totals.reply_seconds),
    ]
    return '<dl class="tiles">{}</dl>'.format(
        "".join(_tile(name, figure, under) for name, figure, under in tiles)
    )


def _notices(run: GatheredRun, other: GatheredRun | None, pairing: Pairing | None) -> list[str]:
    degraded = degraded_line(run.tables.totals)
    notices = [*([degraded] if degraded else []), *run.record.notices]
    outside = sum(row.turn_key is None for row in run.record.rows)
    if outside:
        notices.append(f"{outside:,} calls were asked outside of any turn; the totals hold them.")
    if other is not None and pairing is not None:
        notices += [f"The other run: {notice}" for notice in other.record.notices]
        paired, mine, others = len(pairing.keys), len(run.keys), len(other.keys)
        if paired < max(mine, others):
            notices.append(
                f"{paired:,} turns pair, of {mine:,} here and {others:,} in the other run; "
                "comparisons are over those."
            )
        if pairing.reworded:
            notices.append(
                f"In {len(pairing.reworded):,} paired turns the user wrote something else: "
                "the runs may be of different conversations."
            )
    return [f'<p class="notice">{shown_html(notice)}</p>' for notice in notices]


def overview_html(
    run: GatheredRun,
    other: GatheredRun | None = None,
    pairing: Pairing | None = None,
    compared: Sequence[Table] = (),
) -> str:
    """Return the first view.

    Args:
        run: the run that the page is of.
        other: the run beside it, or None.
        pairing: from `pair`, where there is another run.
        compared: from `compared_tables`, likewise.
    """
    tables = run.tables
    own = (
        tables.by_node,
        tables.by_role,
        tables.by_purpose,
        tables.against_plan,
        tables.scenarios,
        tables.time,
    )
    parts = [*_notices(run, other, pairing), _tiles(run), '<div id="chart"></div>']
    if compared:
        parts += ['<h2 class="apart">Beside the other run</h2>', *map(table_html, compared)]
        parts.append('<h2 class="apart">This run</h2>')
    parts += [table_html(table) for table in own if table is not None]
    return "\n".join(parts)
