"""A comparison as JSON for scripts, and as Markdown for a comment on a pull request.

Ids, node names and knob values are untrusted. In Markdown each is a code span, in which no
forge reads HTML, links, images, mentions or issue numbers, and the marks that could end a span
or a cell are shown as their wide forms.
"""

import math
from collections.abc import Sequence
from typing import Any

from callwise.report.table import cell_text, markdown_rows
from callwise.testing.gate.gate_comparison import (
    Finding,
    GateComparison,
    GatedFigure,
    LiveTest,
)
from callwise.testing.gate.gate_exceptions import GateException
from callwise.testing.gate.presenter import (
    PathNames,
    by_exception,
    finding_rows,
    mean_words,
    short,
    unexplained,
    verdict,
)
from callwise.text_layout import counted

__all__ = ["comparison_json", "comparison_markdown"]

MAX_ROWS = 30
"""Rows of findings in a comment; the rest is counted. A forge refuses long comments."""

_WIDE = str.maketrans({"`": "\uff40", "|": "\uff5c", "\\": "\uff3c"})


def _finding_json(finding: Finding) -> dict[str, Any]:
    conversation, turn = finding.key if finding.key is not None else (None, None)
    path = finding.path
    return {
        "figure": str(finding.figure),
        "conversation": conversation,
        "turn": turn,
        "node": None if path is None else path.node,
        "role": None if path is None else path.role,
        "purpose": None if path is None else path.purpose,
        "before": finding.before,
        "now": finding.now,
    }


def comparison_json(comparison: GateComparison, name: str) -> dict[str, Any]:
    """Return a comparison as one JSON object; what is not known is null, never 0."""
    baseline, current, live = comparison.baseline, comparison.current, comparison.live
    causes = comparison.causes
    document: dict[str, Any] = {
        "passed": not comparison.has_failed,
        "verdict": verdict(comparison, name),
        "simulated": current.is_simulated,
        "turns": len(current.turns),
        "calls_per_turn": {
            "before": baseline.mean_calls_per_turn,
            "now": current.mean_calls_per_turn,
        },
        "expired": [each.model_dump(mode="json") for each in comparison.expired],
        "causes": {
            "knobs": [
                {"knob": each.knob, "before": each.before, "now": each.now} for each in causes.knobs
            ],
            "prompts": list(causes.prompts),
            "moved": [list(pair) for pair in causes.moved],
            "are_prompts_known": causes.are_prompts_known,
        },
    }
    if live is not None:
        return document | {
            "turns": live.turns,
            "conversations": live.conversations,
            "calls_per_turn": {"before": live.before, "now": live.now},
            "p_value": live.p_value,
            "alpha": live.alpha,
            "by_path": [{**path._asdict(), "rise_per_turn": rise} for path, rise in live.by_path],
            "quarantined_turns": live.excepted_turns,
        }
    return document | {
        "failures": [_finding_json(each) for each in comparison.failures],
        "allowed": [_finding_json(each) for each in comparison.tolerated],
        "gains": [_finding_json(each) for each in comparison.gains],
        "quarantined": [
            {
                **_finding_json(finding),
                "owner": exception.owner,
                "until": exception.until.isoformat(),
            }
            for exception, findings in by_exception(comparison)
            for finding in findings
        ],
    }


def _code(text: str) -> str:
    """Return untrusted text as a code span, on one line and of bounded length."""
    shown = short(text).translate(_WIDE).strip()
    return f"`{shown}`" if shown else "(empty)"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> str:
    return markdown_rows(heads, rows, numbers=numbers) + "\n"


def _findings_table(comparison: GateComparison) -> list[str]:
    names = PathNames(comparison)
    groups: list[tuple[str, Sequence[Finding]]] = [("**worse**", comparison.failures)]
    for each, findings in by_exception(comparison):
        groups.append((f"quarantine until {each.until.isoformat()}, {_code(each.owner)}", findings))
    groups += [("allowed", comparison.tolerated), ("better", comparison.gains)]
    rows = [
        (
            row.what(_code),
            row.place(_code),
            cell_text(row.finding.before),
            cell_text(row.finding.now),
            row.share,
            result,
        )
        for result, findings in groups
        for row in finding_rows(findings, names)
    ]
    if not rows:
        return []
    heads = ("what", "where", "baseline", "run", "change", "")
    parts = [_table(heads, rows[:MAX_ROWS], numbers=(2, 3, 4))]
    if len(rows) > MAX_ROWS:
        parts.append(f"{counted(len(rows) - MAX_ROWS, 'more row')} not shown.\n")
    return parts


def _causes(comparison: GateComparison) -> str:
    causes = comparison.causes
    if causes.are_none:
        text = unexplained(causes)
        return f"{text[0].upper()}{text[1:]}.\n"
    lines = [
        f"- knob {_code(change.knob)}: "
        + " → ".join(
            "default" if value is None else _code(value) for value in (change.before, change.now)
        )
        for change in causes.knobs
    ]
    lines += [f"- prompt moved from {_code(gone)} to {_code(name)}" for gone, name in causes.moved]
    lines += [f"- prompt {_code(name)} changed" for name in causes.prompts]
    more = len(lines) - MAX_ROWS
    if more > 0:
        lines = [*lines[:MAX_ROWS], f"- and {more} more"]
    return "\n".join(["Changed since the baseline:", "", *lines, ""])


def _expired(exceptions: Sequence[GateException]) -> list[str]:
    if not exceptions:
        return []
    rows = [
        (
            _code(each.conversation),
            "any" if each.turn is None else str(each.turn),
            _code(each.node),
            each.until.isoformat(),
            _code(each.owner),
            _code(each.reason),
        )
        for each in exceptions
    ]
    heads = ("conversation", "turn", "node", "ended on", "owner", "reason")
    return ["Quarantine that is over:\n", _table(heads, rows, numbers=())]


def _whole_run(comparison: GateComparison) -> str:
    """Return the table of sums."""
    rows: list[tuple[str, ...]] = [("calls per turn", *mean_words(comparison))]
    sides = (comparison.baseline.turns, comparison.current.turns)
    for name, field in (
        ("refused calls", "refused"),
        (GatedFigure.DEGRADED, "degraded"),
        (GatedFigure.UNREADABLE, "unreadable"),
    ):
        sums = [sum(getattr(turn, field) for turn in turns) for turns in sides]
        if any(sums):
            rows.append((str(name), *map(cell_text, sums)))
    for name, field, total in (
        ("requests", "requests", sum),
        ("tokens", "tokens", sum),
        ("USD", "usd", math.fsum),
    ):
        values = [[getattr(turn, field) for turn in turns] for turns in sides]
        shown = [cell_text(None if None in each else total(each)) for each in values]
        if shown != ["unknown", "unknown"]:
            rows.append((name, *shown))
    return _table(("the whole run", "baseline", "run"), rows, numbers=(1, 2))


def _live(comparison: GateComparison, live: LiveTest) -> list[str]:
    figures = (
        ("calls per turn, baseline", f"{live.before:.3f}"),
        ("calls per turn, run", f"{live.now:.3f}"),
        ("conversations", str(live.conversations)),
        ("p, one-sided", f"{live.p_value:.3g}"),
        ("false-alarm rate", f"{live.alpha:g}"),
    )
    parts = [_table(("live run", ""), figures, numbers=(1,))]
    if live.by_path:
        names = PathNames(comparison)
        rows = [(_code(names.of(path)), f"{rise:+.3f}") for path, rise in live.by_path[:MAX_ROWS]]
        parts.append(_table(("what", "rise per turn"), rows, numbers=(1,)))
    return parts + ([_causes(comparison)] if live.has_risen else [])


def comparison_markdown(comparison: GateComparison, name: str) -> str:
    """Return a comparison as Markdown."""
    current, live = comparison.current, comparison.live
    label = " The answers are simulated: this proves counting, not language."
    turns = len(current.turns) if live is None else live.turns
    parts = [
        f"### Calls per turn: {'**failed**' if comparison.has_failed else 'ok'}\n",
        f"{counted(turns, 'turn')} against {_code(name)}.{label * current.is_simulated}\n",
    ]
    if live is not None:
        parts += _live(comparison, live)
    else:
        parts += [_whole_run(comparison), *_findings_table(comparison)]
        parts += [_causes(comparison)] if comparison.failures else []
    return "\n".join([*parts, *_expired(comparison.expired)]).rstrip() + "\n"
