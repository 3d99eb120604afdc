"""Signs of the judges' bias over a run's turns: the sums of each search's record, pooled.

The record is read from a file, so nothing in it is trusted. Its sums are those of
`lats.judge_report`, which defines the signs; this package does not import the search.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from callwise.report.table import Cell, Share, Table

__all__ = ["judge_table"]

_COLUMNS = ("judge", "sign", "figure", "low", "high", "cases", "finding")
MIN_CASES = 12
"""Cases below which a sign has no interval."""

REACH = (2.498, 4.52, 7.74)
"""Half-width of an interval in standard errors, by powers of one over the degrees of freedom."""

MIN_EFFECT = 0.1
LOW_AGREEMENT = 0.2

MIN_COUNTED = 2
"""Calls from which half of all calls is a finding."""

MAX_JUDGES = 64
"""Judges of a run that are shown; a forged record might name any number."""

_READ = ConfigDict(extra="ignore", allow_inf_nan=False, defer_build=True)
_Count = Annotated[int, Field(ge=0, le=10**12, strict=True)]
_Sum = Annotated[float, Field(ge=-1e12, le=1e12, strict=True)]
_Sums = tuple[_Count, _Sum, _Sum, _Sum, _Sum, _Sum]


class _Judge(BaseModel):
    """One judge in one search's record."""

    model_config = _READ

    judge: str = Field(default="", max_length=200)
    calls: _Count = 0
    failed: _Count = 0
    silent: _Count = 0
    compared: _Count = 0
    flat: _Count = 0
    top_ties: _Count = 0
    repeats: _Count = 0
    equal_repeats: _Count = 0
    unreadable: _Count = 0
    unknown_ids: _Count = 0
    order: _Sums
    first: _Sums
    last: _Sums
    length: _Sums
    self_agreement: _Sums


class _Agreement(BaseModel):
    model_config = _READ

    judges: tuple[str, str]
    sums: _Sums


class _Judges(BaseModel):
    model_config = _READ

    judges: list[_Judge] = Field(max_length=MAX_JUDGES)
    agreement: list[_Agreement] = Field(default=[], max_length=MAX_JUDGES**2)


class _Share(NamedTuple):
    """A share of calls or scores that is counted."""

    part: str
    whole: str
    words: str


_SHARES = (
    _Share("failed", "calls", "calls that failed"),
    _Share("silent", "calls", "calls without a usable score"),
    _Share("flat", "compared", "calls with one score for all"),
    _Share("top_ties", "compared", "calls with several best"),
    _Share("equal_repeats", "repeats", "scores that repeat the earlier one"),
)
_COUNTS = {
    "unreadable": "verdicts without a score from 0 to 1",
    "unknown_ids": "verdicts on others than were asked about",
}
_SIGNS = {
    "order": "first place above last, SD",
    "first": "first place above others, SD",
    "last": "last place above others, SD",
    "length": "SD per SD of length (may be right)",
    "self_agreement": "agreement with itself, correlation",
}


def _row(judge: str, name: str, words: str, sums: Iterable[float]) -> tuple[Cell, ...]:
    """Return the row of a sign; see `lats.judge_report.EffectSums`."""
    cases, weight, value, weight_squares, products, value_squares = sums
    if weight <= 0:
        return judge, words, None, None, None, int(cases), "not enough data"
    effect = value / weight
    if cases < MIN_CASES:
        return judge, words, effect, None, None, int(cases), "not enough data"
    freedom = cases - 1
    squares = value_squares - 2 * effect * products + effect * effect * weight_squares
    reach = REACH[0] + REACH[1] / freedom + REACH[2] / freedom**2
    half = reach * math.sqrt(max(squares, 0.0) * cases / freedom) / weight
    low, high = effect - half, effect + half
    if name == "agreement":
        finding = ""
    elif name == "self_agreement":
        finding = "found" if high < LOW_AGREEMENT else "not found"
    else:
        is_found = (low > 0 or high < 0) and abs(effect) >= MIN_EFFECT
        finding = "found" if is_found else "not found"
    return judge, words, effect, low, high, int(cases), finding


def _rows(name: str, read: list[_Judge]) -> list[tuple[Cell, ...]]:
    judge = name or "the judge"

    def count(field: str) -> int:
        return sum(int(getattr(each, field)) for each in read)

    rows: list[tuple[Cell, ...]] = []
    for share in _SHARES:
        part, whole = count(share.part), count(share.whole)
        if not whole:
            continue
        is_repeat = share.part == "equal_repeats"
        is_found = (
            part == whole >= MIN_CASES and count("flat") < count("compared")
            if is_repeat
            else part >= MIN_COUNTED and 2 * part >= whole
        )
        finding = "found" if is_found else "not found"
        rows.append((judge, share.words, Share(part / whole), None, None, whole, finding))
    for field, words in _COUNTS.items():
        if found := count(field):
            rows.append((judge, words, found, None, None, None, "found"))
    for field, words in _SIGNS.items():
        sums = map(math.fsum, zip(*(getattr(each, field) for each in read), strict=True))
        rows.append(_row(judge, field, words, sums))
    return rows


def judge_table(searches: Iterable[Mapping[str, Any]]) -> Table | None:
    """Return the signs of bias of each judge over many searches; None where none is recorded.

    Args:
        searches: their records, unchecked. Those whose part on judges cannot be read are counted
            in the title.
    """
    by_judge: dict[str, list[_Judge]] = {}
    by_pair: dict[tuple[str, str], list[_Sums]] = {}
    read = unreadable = 0
    for search in searches:
        raw = search.get("judges")
        if raw is None:
            continue
        try:
            record = _Judges.model_validate(raw)
        except ValidationError:
            unreadable += 1
            continue
        read += bool(record.judges)
        for judge in record.judges:
            by_judge.setdefault(judge.judge, []).append(judge)
        for pair in record.agreement:
            by_pair.setdefault(pair.judges, []).append(pair.sums)
    if not by_judge and not unreadable:
        return None
    rows = [row for name in sorted(by_judge)[:MAX_JUDGES] for row in _rows(name, by_judge[name])]
    for (one, other), found in sorted(by_pair.items())[:MAX_JUDGES]:
        sums = map(math.fsum, zip(*found, strict=True))
        rows.append(_row(f"{one} and {other}", "agreement", "agreement, correlation", sums))
    title = f"Signs of the judges' bias, of {read:,} searches"
    if unreadable:
        title += f" ({unreadable:,} records could not be read)"
    return Table("judges", title, _COLUMNS, tuple(rows), ("cases", "high", "low"))
