"""Two runs compared: turns are paired by conversation and number alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from callwise.calls.errors import ConfigError
from callwise.report.page.page_data import PageRun
from callwise.report.page.plain import mapping
from callwise.report.run_record import CallLine, TurnKey, TurnLine
from callwise.report.table import Cell, Table
from callwise.report.totals import (
    NameOf,
    UsageSums,
    grouped,
    node_name,
    purpose_name,
    role_name,
    sum_calls,
)

__all__ = ["TurnPairing", "compared_tables", "differences", "pair", "setting_words"]

FIGURES = (
    "asked",
    "unreadable",
    "repairs",
    "requests",
    "attempts",
    "input_tokens",
    "output_tokens",
    "usd",
)
"""Compared figures of some calls."""

_SPANS = ("rounds_reply", "rounds_turn", "path_seconds_reply", "path_seconds_turn")
_SIDES = ("this_run", "other_run", "difference")

Row = tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class TurnPairing:
    """The turns that two runs have in common.

    Args:
        other_place: of each paired turn of this run, the place of its other in the other run.
        keys: the paired turns, in this run's order.
        reworded: those of them with another user text.
    """

    run: PageRun
    other: PageRun
    other_place: Mapping[TurnKey, int]
    keys: tuple[TurnKey, ...]
    reworded: frozenset[TurnKey]


def _named(keys: Sequence[TurnKey]) -> str:
    names = list(dict.fromkeys(conversation for conversation, _ in keys))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (", ".join(f"{name[:40]!r}" for name in names[:3]) or "no turn") + more


def pair(run: PageRun, other: PageRun) -> TurnPairing:
    """Return the turns that two runs have in common.

    Raises:
        ConfigError: when they have none.
    """
    places: dict[TurnKey, int] = {}
    for place, key in enumerate(other.keys):
        places.setdefault(key, place)
    keys = tuple(key for key in run.keys if key in places)
    if not keys:
        raise ConfigError(
            f"no turn of {other.record.folder} pairs with one of {run.record.folder}: "
            f"that one has {_named(other.keys)}, this one {_named(run.keys)}; "
            "compare runs of the same conversations"
        )
    own = dict(zip(run.keys, run.record.raw_turns, strict=True))
    reworded = frozenset(
        key
        for key in keys
        if own[key].get("user_text") != other.record.raw_turns[places[key]].get("user_text")
    )
    return TurnPairing(run, other, {key: places[key] for key in keys}, keys, reworded)


def _compared(name: str, mine: Cell, others: Cell) -> Row:
    if isinstance(mine, str | None) or isinstance(others, str | None):
        return name, mine, others, None
    found = mine - others
    return name, mine, others, round(found, 9) if isinstance(found, float) else found


def _figure_rows(mine: UsageSums, others: UsageSums) -> list[Row]:
    return [_compared(name, mine.figure(name), others.figure(name)) for name in FIGURES]


def _grouped_rows(
    mine: Sequence[CallLine], others: Sequence[CallLine], name_of: NameOf
) -> list[Row]:
    """Return asked calls, tokens and USD of both runs by name; one that never asked has 0."""
    rows: list[Row] = []
    sides = grouped(mine, name_of), grouped(others, name_of)
    for name in dict.fromkeys((*sides[0], *sides[1])):
        one, other = (sum_calls(side.get(name, ())) for side in sides)
        asked = _compared("", one.asked, other.asked)[1:]
        tokens = _compared("", one.usage.tokens, other.usage.tokens)[1:]
        rows.append((name, *asked, *tokens, *_compared("", one.usd, other.usd)[1:]))
    return rows


def differences(
    turn: TurnLine,
    other: TurnLine,
    calls: Sequence[CallLine],
    other_calls: Sequence[CallLine],
    *,
    is_reworded: bool,
) -> dict[str, Any]:
    """Return how a turn differs from its other, as plain JSON.

    Returns:
        `figures` and `nodes` are rows of `this, other, difference`; `kinds` names the kinds of
        difference, if any. Time is shown and is no difference.
    """
    mine, others = sum_calls(calls), sum_calls(other_calls)
    nodes = _grouped_rows(calls, other_calls, node_name)
    kinds = {
        "user text": is_reworded,
        "reply": turn.reply != other.reply,
        "calls": any(row[1] != row[2] for row in nodes) or mine.outcomes != others.outcomes,
        "tokens": (mine.usage.input_tokens, mine.usage.output_tokens)
        != (others.usage.input_tokens, others.usage.output_tokens),
        "usd": mine.usd != others.usd,
        "rounds": turn.spans[:2] != other.spans[:2],
        "degraded": turn.degraded != other.degraded or turn.wound_down != other.wound_down,
    }
    spans = [
        _compared(name, *both)
        for name, both in zip(_SPANS, zip(turn.spans, other.spans, strict=True), strict=True)
    ]
    return {
        "kinds": [name for name, differs in kinds.items() if differs],
        "figures": [*_figure_rows(mine, others), *spans],
        "nodes": nodes,
    }


def _flat(settings: Any) -> dict[str, str]:
    """Return every knob by its dotted path, its value as text."""
    found: dict[str, str] = {}
    waiting: list[tuple[str, Any]] = [("", settings)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Mapping) and value:
            waiting += [
                (f"{path}.{name}" if path else str(name), each)
                for name, each in reversed(list(value.items()))
            ]
        else:
            found[path] = value if isinstance(value, str) else repr(value)
    return found


def _manifest_table(run: PageRun, other: PageRun, part: str, title: str) -> Table:
    """Return where a part of the manifests (knobs, prompts) differs."""
    mine, others = (_flat(mapping(each.record.manifest.get(part))) for each in (run, other))
    rows = [
        (name, mine.get(name, "-"), others.get(name, "-"))
        for name in dict.fromkeys((*mine, *others))
        if name and mine.get(name) != others.get(name)
    ]
    return Table(f"{part}_differ", title, (part.removesuffix("s"), *_SIDES[:2]), tuple(rows))


MAX_NAMED_KNOBS = 3
"""Differing knobs that the first view names; the table has all."""


def _knob_table(pairing: TurnPairing) -> Table:
    return _manifest_table(pairing.run, pairing.other, "knobs", "Knobs that differ")


def setting_words(pairing: TurnPairing) -> str:
    """Return which knobs differ, the first with both values; empty for none. Untrusted."""
    rows = [[str(cell)[:60] for cell in row] for row in _knob_table(pairing).rows]
    words = [f"{name} {mine} against {others}" for name, mine, others in rows[:MAX_NAMED_KNOBS]]
    more = len(rows) - len(words)
    return ", ".join(words) + (f", and {more} more" if more else "")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _run_rows(
    turns: tuple[Sequence[TurnLine], Sequence[TurnLine]], sums: tuple[UsageSums, UsageSums]
) -> list[Row]:
    rows = [(str(name).replace("_", " "), *cells) for name, *cells in _figure_rows(*sums)]
    for place, name in enumerate(_SPANS):
        both = (_mean([turn.spans[place] for turn in side]) for side in turns)
        rows.append(_compared(f"{name.replace('_', ' ')}, mean per turn", *both))
    degraded = (sum(bool(turn.degraded) for turn in side) for side in turns)
    rows.append(_compared("degraded turns", *degraded))
    replies = [mine.reply != others.reply for mine, others in zip(*turns, strict=True)]
    rows.append(("turns with another reply", sum(replies), "", ""))
    return rows


def _grouped_table(name: str, rows: Sequence[Row]) -> Table:
    """Return the calls, tokens and USD of both runs by a name; no USD where neither has any."""
    figures = ["asked", "tokens", "usd"]
    if not any(row[-3] or row[-2] for row in rows):
        figures.remove("usd")
        rows = [row[:-3] for row in rows]
    columns = (name, *(f"{figure}_{side}" for figure in figures for side in _SIDES))
    return Table(f"compared_by_{name}", f"By {name}", columns, tuple(rows))


def compared_tables(pairing: TurnPairing) -> list[Table]:
    """Return the tables that compare two runs, over the turns of both."""
    run, other = pairing.run, pairing.other
    mine, others = (
        [row for key in pairing.keys for row in each.calls[key]] for each in (run, other)
    )
    by_key = {turn.key: turn for turn in run.record.turns}
    turns = (
        [by_key[key] for key in pairing.keys],
        [other.record.turns[pairing.other_place[key]] for key in pairing.keys],
    )
    figures = Table(
        "compared",
        "This run and the other",
        ("figure", *_SIDES),
        tuple(_run_rows(turns, (sum_calls(mine), sum_calls(others)))),
    )
    names = {"node": node_name, "role": role_name, "purpose": purpose_name}
    by_name = [
        _grouped_table(name, _grouped_rows(mine, others, name_of))
        for name, name_of in names.items()
    ]
    settings = [
        _knob_table(pairing),
        _manifest_table(run, other, "prompts", "Prompts that differ (digests)"),
    ]
    return [figures, *by_name, *(table for table in settings if table.rows)]
