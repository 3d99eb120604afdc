"""What the gate found, as Markdown for a comment on a pull request.

Ids, node names and knob values are untrusted: whoever opens a pull request may choose them.
Each stands in a code span, in which no forge reads HTML, links, images, mentions or issue
numbers, and the three marks that could end a span or a cell are shown as their wide forms.
"""

import math
from collections.abc import Iterable, Sequence

from turnwise.testing.gate.gate_comparison import (
    ChangeCauses,
    Finding,
    GateComparison,
    GatedFigure,
    causes_between,
)
from turnwise.testing.gate.gate_exceptions import GateException
from turnwise.testing.gate.live_gate import LiveComparison
from turnwise.testing.gate.presenter import (
    FindingGroup,
    PathNames,
    calls_a_turn,
    counted,
    grouped,
    number,
    share_words,
    short,
    unexplained,
)

__all__ = ["drift_markdown", "live_markdown"]

MAX_ROWS = 30
"""Rows of findings in a comment; the rest is counted. A forge refuses long comments."""

_WIDE = str.maketrans({"`": "\uff40", "|": "\uff5c", "\\": "\uff3c"})


def _code(text: str) -> str:
    """Return untrusted text as a code span, on one line and of bounded length."""
    shown = short(text).translate(_WIDE).strip()
    return f"`{shown}`" if shown else "(empty)"


def _table(heads: Sequence[str], sides: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(heads)} |",
        f"|{'|'.join(sides)}|",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]


def _where(group: FindingGroup) -> str:
    if not group.keys:
        most = group.finding.most_in
        if group.finding.path is not None:
            return "outside of turns"
        return "whole run" + (f", most in turn {most[1]} of {_code(most[0])}" if most else "")
    conversation, turn = group.keys[0]
    more = len(group.keys) - 1
    return f"turn {turn} of {_code(conversation)}" + (f" and {more:,} more" if more else "")


def _rows(findings: Sequence[Finding], names: PathNames, standing: str) -> list[list[str]]:
    rows = []
    for group in grouped(findings):
        finding = group.finding
        what = str(finding.figure) if finding.path is None else _code(names.of(finding.path))
        rows.append(
            [
                what,
                _where(group),
                number(finding.before),
                number(finding.now),
                share_words(finding),
                standing,
            ]
        )
    return rows


def _finding_lines(drift: GateComparison) -> list[str]:
    names = PathNames((drift.baseline, drift.current))
    rows = _rows(drift.failures, names, "**worse**")
    for case in dict.fromkeys(held.case for held in drift.held):
        findings = [held.finding for held in drift.held if held.case == case]
        standing = f"quarantine until {case.until.isoformat()}, {_code(case.owner)}"
        rows += _rows(findings, names, standing)
    rows += _rows(drift.tolerated, names, "allowed") + _rows(drift.gains, names, "better")
    if not rows:
        return []
    heads = ("what", "where", "baseline", "run", "change", "")
    sides = ("---", "---", "---:", "---:", "---:", "---")
    lines = _table(heads, sides, rows[:MAX_ROWS])
    if len(rows) > MAX_ROWS:
        lines += [f"{counted(len(rows) - MAX_ROWS, 'more row')} not shown.", ""]
    return lines


def _cause_lines(causes: ChangeCauses) -> list[str]:
    if causes.are_none:
        text = unexplained(causes)
        return [f"{text[0].upper()}{text[1:]}.", ""]
    lines = [
        f"- knob {_code(change.knob)}: "
        + " → ".join(
            "unset" if value is None else _code(value) for value in (change.before, change.now)
        )
        for change in causes.knobs
    ]
    lines += [f"- prompt {_code(name)} changed" for name in causes.prompts]
    more = len(lines) - MAX_ROWS
    if more > 0:
        lines = [*lines[:MAX_ROWS], f"- and {more} more"]
    return ["Changed since the baseline:", "", *lines, ""]


def _expired_lines(cases: Sequence[GateException]) -> list[str]:
    if not cases:
        return []
    rows = [
        [
            _code(case.conversation),
            "any" if case.turn is None else str(case.turn),
            _code(case.node),
            case.until.isoformat(),
            _code(case.owner),
            _code(case.reason),
        ]
        for case in cases
    ]
    heads = ("conversation", "turn", "node", "ended on", "owner", "reason")
    return ["Quarantine that is over:", "", *_table(heads, ("---",) * 6, rows)]


def _whole_run(drift: GateComparison) -> list[str]:
    """Return the table of sums: what a reader wants first."""
    before, now = calls_a_turn(drift)
    rows = [["calls a turn", before, now]]
    sides = (drift.baseline.turns, drift.current.turns)
    shown_above_0 = {
        "refused calls": "refused",
        GatedFigure.DEGRADED: "degraded",
        GatedFigure.UNREADABLE: "unreadable",
    }
    for name, field in shown_above_0.items():
        sums = [sum(getattr(turn, field) for turn in turns) for turns in sides]
        if any(sums):
            rows.append([str(name), *map(number, sums)])
    for name, field, total in (
        ("requests", "requests", sum),
        ("tokens", "tokens", sum),
        ("USD", "usd", math.fsum),
    ):
        values = [[getattr(turn, field) for turn in turns] for turns in sides]
        shown = ["unknown" if None in each else number(total(each)) for each in values]
        if shown != ["unknown", "unknown"]:
            rows.append([name, *shown])
    return _table(("the whole run", "baseline", "run"), ("---", "---:", "---:"), rows)


def _head(is_failed: bool, is_simulated: bool, name: str, turns: int) -> list[str]:
    label = " The answers are simulated: this proves counting, not language." * is_simulated
    return [
        f"### Calls per turn: {'**failed**' if is_failed else 'ok'}",
        "",
        f"{counted(turns, 'turn')} against {_code(name)}.{label}",
        "",
    ]


def drift_markdown(drift: GateComparison, name: str) -> str:
    """Return a comparison as Markdown.

    Args:
        drift: what the run is beside its baseline.
        name: what to call the baseline: its file.
    """
    current = drift.current
    lines = _head(drift.has_failed, current.is_simulated, name, len(current.turns))
    lines += _whole_run(drift) + _finding_lines(drift)
    if drift.failures:
        lines += _cause_lines(drift.causes)
    return "\n".join(lines + _expired_lines(drift.expired)).rstrip() + "\n"


def live_markdown(live: LiveComparison, name: str) -> str:
    """Return the test of a live run as Markdown; see `drift_markdown`."""
    names = PathNames((live.baseline, live.current))
    lines = _head(live.has_failed, live.current.is_simulated, name, live.turns)
    figures = (
        ("calls a turn, baseline", f"{live.before:.3f}"),
        ("calls a turn, run", f"{live.now:.3f}"),
        ("conversations", str(live.conversations)),
        ("p, one-sided", f"{live.p_value:.3g}"),
        ("false-alarm rate", f"{live.alpha:g}"),
    )
    lines += _table(("live run", ""), ("---", "---:"), figures)
    if live.by_path:
        rows = [[_code(names.of(path)), f"{rise:+.3f}"] for path, rise in live.by_path[:MAX_ROWS]]
        lines += _table(("what", "rise a turn"), ("---", "---:"), rows)
    if live.has_risen:
        lines += _cause_lines(causes_between(live.baseline, live.current))
    return "\n".join(lines + _expired_lines(live.expired)).rstrip() + "\n"
