"""Two runs compared: turns are paired by conversation and number alone."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from callwise.calls.errors import ConfigError
from callwise.report.page.page_data import PageRun, calls_of
from callwise.report.page.plain import mapping
from callwise.report.run_record import CallLine, TurnKey, TurnLine
from callwise.report.table import Cell, Table
from callwise.report.totals import UsageSums, sum_calls

__all__ = ["TurnPairing", "compared_tables", "differences", "pair"]

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
"""What is compared of some calls."""

_SPANS = ("rounds_reply", "rounds_turn", "path_seconds_reply", "path_seconds_turn")
_SIDES = ("this_run", "other_run", "difference")

Row = tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class TurnPairing:
    """Which turns two runs have in common.

    Args:
        other_place: of each paired turn of this run, the place of its other in the other run.
        keys: the paired turns, in this run's order.
        reworded: those of them in which the user wrote something else.
    """

    other_place: Mapping[TurnKey, int]
    keys: tuple[TurnKey, ...]
    reworded: frozenset[TurnKey]


def _named(keys: Sequence[TurnKey]) -> str:
    names = list(dict.fromkeys(conversation for conversation, _ in keys))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (", ".join(f"{name[:40]!r}" for name in names[:3]) or "no turn") + more


def pair(run: PageRun, other: PageRun) -> TurnPairing:
    """Return which turns two runs have in common.

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
    return TurnPairing({key: places[key] for key in keys}, keys, reworded)


def _difference(mine: Cell, others: Cell) -> Cell:
    if isinstance(mine, str | None) or isinstance(others, str | None):
        return None
    found = mine - others
    return round(found, 9) if isinstance(found, float) else found


def _compared(name: str, mine: Cell, others: Cell) -> Row:
    return name, mine, others, _difference(mine, others)


_TOKENS = ("input_tokens", "output_tokens")


def _figure_rows(mine: UsageSums, others: UsageSums) -> list[Row]:
    return [_compared(name, mine.figure(name), others.figure(name)) for name in FIGURES]


def _grouped_rows(
    mine: Sequence[CallLine], others: Sequence[CallLine], name_of: Callable[[CallLine], str]
) -> list[Row]:
    """Return asked calls, tokens and USD of both runs by name; one that never asked has 0."""
    rows: list[Row] = []
    for name in dict.fromkeys(map(name_of, (*mine, *others))):
        cells: list[Cell] = [name]
        sums = [sum_calls([row for row in side if name_of(row) == name]) for side in (mine, others)]
        for figures in (
            [each.asked for each in sums],
            [each.usage.tokens for each in sums],
            [each.usd for each in sums],
        ):
            cells += _compared("", *figures)[1:]
        rows.append(tuple(cells))
    return rows


def _node(row: CallLine) -> str:
    return row.node or "-"


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
        `figures` and `nodes` are rows of `this, other, difference`; `kinds` names what
        differs, and is empty where nothing does. Time is shown and is no difference.
    """
    mine, others = sum_calls(calls), sum_calls(other_calls)
    nodes = _grouped_rows(calls, other_calls, _node)
    rounds = turn.spans[:2] != other.spans[:2]
    tokens = any(mine.figure(name) != others.figure(name) for name in _TOKENS)
    kinds = {
        "user text": is_reworded,
        "reply": turn.reply != other.reply,
        "calls": any(row[1] != row[2] for row in nodes) or mine.outcomes != others.outcomes,
        "tokens": tokens,
        "usd": mine.usd != others.usd,
        "rounds": rounds,
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
    """Return what both runs spent by a name; without prices where neither knows any."""
    whats = ["asked", "tokens", "usd"]
    if not any(row[-3] or row[-2] for row in rows):
        whats.remove("usd")
        rows = [row[:-3] for row in rows]
    columns = (name, *(f"{what}_{side}" for what in whats for side in _SIDES))
    return Table(f"compared_by_{name}", f"By {name}", columns, tuple(rows))


def compared_tables(run: PageRun, other: PageRun, pairing: TurnPairing) -> list[Table]:
    """Return the tables that compare two runs, over the turns of both."""
    of_run, of_other = calls_of(run), calls_of(other)
    mine = [row for key in pairing.keys for row in of_run[key]]
    others = [row for key in pairing.keys for row in of_other[key]]
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
    names: tuple[tuple[str, Callable[[CallLine], str]], ...] = (
        ("node", _node),
        ("role", lambda row: row.role.value),
        ("purpose", lambda row: row.purpose.value),
    )
    grouped = [
        _grouped_table(name, _grouped_rows(mine, others, name_of)) for name, name_of in names
    ]
    settings = [
        _manifest_table(run, other, "knobs", "Knobs that differ"),
        _manifest_table(run, other, "prompts", "Prompts that differ (digests)"),
    ]
    return [figures, *grouped, *(table for table in settings if table.rows)]
