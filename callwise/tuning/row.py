"""Rows of a sweep: one setting on one turn, and how much of it is recorded.

The fields of `TurnRow` are declared once: the JSON of a row, its columns in CSV and Parquet and
the sweep's store are derived from them. Floats keep every digit and maps are sorted by name, so
equal rows give equal bytes.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from callwise.calls.call import Outcome

if TYPE_CHECKING:
    from callwise.recordings.counterfactual.evaluation import CounterfactualTurn

__all__ = [
    "FIELDS",
    "Coverage",
    "ReplyKey",
    "RowField",
    "TurnRow",
    "reply_id",
    "row_figures",
    "row_from_figures",
    "row_from_json",
    "row_of",
    "rows_by_setting",
    "sum_known",
]

ReplyKey = tuple[str, int, str]
"""Conversation, turn and reply id: what is judged once."""


def reply_id(text: str) -> str:
    """Return the digest of a reply's text: 16 hexadecimal digits, or empty for no reply.

    Equal texts have equal ids, to the byte; nothing is trimmed.
    """
    if not text:
        return ""
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


class Coverage(StrEnum):
    """Part of a turn under a setting that is in the recording."""

    EXACT = "exact"
    """Every call that it makes: the row is what a real run gives."""
    BOUNDED = "bounded"
    """Calls up to `diverged_at` less one; what follows was played with answers of other calls."""
    MISSING = "missing"
    """The same, but the recording has no calls of that kind: what follows is the plan's."""


@dataclass(frozen=True, slots=True)
class TurnRow:
    """One setting on one turn.

    Args:
        setting: name of the setting.
        conversation: id of the conversation.
        turn: its number there. Starts at 0.
        seed: the knob `seed` of the setting.
        coverage: how much of it is recorded: `exact`, `bounded` or `missing`.
        diverged_at: the first call that is not recorded, counted from 1 in the order asked;
            None where all are.
        missing_calls: calls that a real run would have to buy, estimated: those not recorded,
            and for `missing` those that the plan still expects; 0 where all are recorded. More
            are bought where a new reply changes calls that count as recorded.
        missing_tokens: their tokens, estimated; None when not known.
        missing_usd: their price, estimated; None when not known, which is not 0.
        asked: calls, those that a limit refused left out; an estimate past `diverged_at`.
        requests: HTTP requests that the recording paid, and one for each missing call.
        input_tokens: known prompt tokens; estimated for missing calls.
        output_tokens: known answer tokens; likewise.
        usd: cost, the estimated one of missing calls included; None when not known.
        rounds_reply: rounds of calls until the reply: calls that wait for no other count once.
        rounds_turn: the same until the end of the turn.
        seconds_reply: path seconds until the reply, as recorded, never a replay's own clock;
            None for `missing`.
        seconds_turn: the same until the end of the turn.
        is_reply_exact: whether the reply is what a real run gives: every call before it
            is recorded, whatever becomes of those after it.
        reply_id: digest of the reply's text, 16 hexadecimal digits; empty without a reply.
        is_simulated: whether simulated models answered.
        asked_by_role: `asked` by role.
        asked_by_purpose: `asked` by purpose.
        asked_by_node: `asked` by node.
        requests_by_role: `requests` by role.
        requests_by_purpose: `requests` by purpose.
        quality: quality of the reply; None when not known. An estimate where
            `is_reply_exact` is false: means over rows need `quality_spread` as well.
        quality_spread: standard deviation of that estimate; 0 where it was measured.
        quality_by: source of the quality: `truth:simulated`, `referee:<model>`,
            `human:<file>`; empty where it was not judged.
    """

    setting: str
    conversation: str
    turn: int
    seed: int
    coverage: Coverage
    diverged_at: int | None
    missing_calls: int
    missing_tokens: int | None
    missing_usd: float | None
    asked: int
    requests: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    rounds_reply: int
    rounds_turn: int
    seconds_reply: float | None
    seconds_turn: float | None
    is_reply_exact: bool
    reply_id: str
    is_simulated: bool
    asked_by_role: Mapping[str, int] = field(default_factory=dict)
    asked_by_purpose: Mapping[str, int] = field(default_factory=dict)
    asked_by_node: Mapping[str, int] = field(default_factory=dict)
    requests_by_role: Mapping[str, int] = field(default_factory=dict)
    requests_by_purpose: Mapping[str, int] = field(default_factory=dict)
    quality: float | None = None
    quality_spread: float = 0.0
    quality_by: str = ""

    @property
    def tokens(self) -> int:
        """Known tokens of the turn, input and output."""
        return self.input_tokens + self.output_tokens

    @property
    def has_reply(self) -> bool:
        """Whether the reply is known; that of an exact turn may be empty."""
        return bool(self.reply_id) or self.coverage is Coverage.EXACT

    @property
    def mark(self) -> str:
        """Coverage as it is shown: `exact`, `bounded@4`, `missing 3`."""
        if self.coverage is Coverage.BOUNDED:
            return f"bounded@{self.diverged_at}"
        if self.coverage is Coverage.MISSING:
            return f"missing {self.missing_calls}"
        return "exact"


@dataclass(frozen=True, slots=True)
class RowField:
    """One field of `TurnRow`."""

    kind: type
    may_be_none: bool
    is_needed: bool


def _row_field(each: "Field[Any]", hint: Any) -> RowField:
    kinds = [part for part in get_args(hint) if part is not type(None)] or [hint]
    is_needed = each.default is MISSING and each.default_factory is MISSING
    return RowField(dict if len(kinds) > 1 else kinds[0], type(None) in get_args(hint), is_needed)


_HINTS = get_type_hints(TurnRow)
FIELDS: Mapping[str, RowField] = {
    each.name: _row_field(each, _HINTS[each.name]) for each in fields(TurnRow)
}
"""By name, in the order of declaration."""

EARLIER_NAMES: Mapping[str, str] = {"standing": "coverage"}
"""Fields that had another name in older files."""


def rows_by_setting(rows: Iterable[TurnRow]) -> dict[str, list[TurnRow]]:
    """Return rows by setting, in order of first appearance."""
    found: dict[str, list[TurnRow]] = {}
    for row in rows:
        found.setdefault(row.setting, []).append(row)
    return found


def row_figures(row: TurnRow) -> list[Any]:
    """Return the values of a row's fields, in the order of declaration.

    Raises:
        ValueError: for a figure that is not finite.
    """
    figures: list[Any] = []
    for name, known in FIELDS.items():
        value = getattr(row, name)
        if known.kind is dict:
            value = {part: value[part] for part in sorted(value)}
        elif known.kind is float and value is not None and not math.isfinite(value):
            raise ValueError(f"{name} of setting {row.setting!r} is {value}")
        figures.append(value)
    return figures


def row_from_figures(figures: Any) -> TurnRow:
    """Return the row whose field values `row_figures` returned.

    Raises:
        ValueError: when a field is missing or of another type; names it.
    """
    if not isinstance(figures, list) or len(figures) != len(FIELDS):
        raise ValueError(f"expected {len(FIELDS)} figures")
    return TurnRow(*map(_checked, FIELDS, FIELDS.values(), figures))


def row_from_json(plain: Mapping[str, Any]) -> TurnRow:
    """Return a row from its fields by name; names of older files are read too.

    Raises:
        ValueError: when a field is missing, unknown, or of another type; names it.
    """
    plain = {EARLIER_NAMES.get(name, name): value for name, value in plain.items()}
    unknown = plain.keys() - FIELDS.keys()
    if unknown:
        raise ValueError(f"unknown field {min(unknown)!r}")
    read: dict[str, Any] = {}
    for name, known in FIELDS.items():
        if name not in plain:
            if known.is_needed:
                raise ValueError(f"the field {name!r} is missing")
            continue
        read[name] = _checked(name, known, plain[name])
    return TurnRow(**read)


def _checked(name: str, known: RowField, value: Any) -> Any:
    kind = known.kind
    if type(value) is kind and kind is not dict:
        return value
    if value is None and known.may_be_none:
        return None
    if kind is float and type(value) is int:
        return float(value)
    if kind is Coverage and value in list(Coverage):
        return Coverage(value)
    if kind is dict and isinstance(value, dict) and all(type(n) is int for n in value.values()):
        return value
    raise ValueError(f"{name} is {value!r}, expected {kind.__name__}")


def row_of(
    evaluated: "CounterfactualTurn",
    *,
    setting: str,
    seed: int,
    scenario: Mapping[str, Any],
    is_simulated: bool,
) -> TurnRow:
    """Return an evaluated turn as a row without quality.

    Args:
        scenario: the plan's usual case as JSON, for turns that could not be played.
    """
    common = {
        "setting": setting,
        "seed": seed,
        "diverged_at": evaluated.diverged_at,
        "is_reply_exact": evaluated.is_reply_exact,
    }
    if evaluated.record is None:
        return _planned(evaluated, scenario, is_simulated=is_simulated, **common)
    return _played(evaluated, evaluated.record, **common)


def _sums(rows: Sequence[Mapping[str, Any]], by: str, count: str | None = None) -> dict[str, int]:
    """Return the number of rows, or a count of theirs, by a column, in order of names."""
    sums: Counter[str] = Counter()
    for row in rows:
        sums[str(row[by] or "")] += 1 if count is None else int(row[count])
    return dict(sorted(sums.items()))


def sum_known(values: Iterable[float | None]) -> float | None:
    """Return the sum of values; None where one of them is not known."""
    known = list(values)
    return None if None in known else math.fsum(each for each in known if each is not None)


def _played(evaluated: "CounterfactualTurn", record: Mapping[str, Any], **common: Any) -> TurnRow:
    missing, rows = evaluated.missing, evaluated.rows
    made = [row for row in rows if row["outcome"] != Outcome.REFUSED]
    return TurnRow(
        **common,
        conversation=str(record["conversation_id"]),
        turn=int(record["turn"]),
        coverage=Coverage.EXACT if evaluated.diverged_at is None else Coverage.BOUNDED,
        missing_calls=len(missing),
        missing_tokens=sum(call.input_tokens + call.output_tokens for call in missing),
        missing_usd=sum_known(call.usd for call in missing),
        asked=len(made),
        requests=sum(row["requests"] for row in rows),
        input_tokens=sum(row["input_tokens"] for row in rows),
        output_tokens=sum(row["output_tokens"] for row in rows),
        usd=sum_known(row["usd"] for row in rows),
        rounds_reply=int(record["rounds"]["reply"]),
        rounds_turn=int(record["rounds"]["turn"]),
        seconds_reply=record["path_seconds"]["reply"],
        seconds_turn=record["path_seconds"]["turn"],
        reply_id=reply_id(str(record["reply"])),
        is_simulated=bool(record.get("simulated")),
        asked_by_role=_sums(made, "role"),
        asked_by_purpose=_sums(made, "purpose"),
        asked_by_node=_sums(made, "node"),
        requests_by_role=_sums(rows, "role", "requests"),
        requests_by_purpose=_sums(rows, "purpose", "requests"),
    )


def _planned(
    evaluated: "CounterfactualTurn", scenario: Mapping[str, Any], **common: Any
) -> TurnRow:
    """Return the row of a turn that could not be played: recorded up to a call, then planned."""
    before = (evaluated.diverged_at or 1) - 1
    asked = max(int(scenario["asked"]), before + 1)
    # Calls played with answers of other calls have to be bought as well.
    missing = asked - before
    share, tokens = missing / asked, scenario["tokens"]
    by_role, by_purpose, by_node = (
        dict(sorted(scenario[name].items())) for name in ("by_role", "by_purpose", "by_node")
    )
    return TurnRow(
        **common,
        conversation=evaluated.turn.conversation_id,
        turn=evaluated.turn.turn or 0,
        coverage=Coverage.MISSING,
        missing_calls=missing,
        missing_tokens=round(tokens["total"] * share),
        missing_usd=None if scenario["usd"] is None else scenario["usd"] * share,
        asked=asked,
        requests=asked,
        input_tokens=tokens["input"],
        output_tokens=tokens["output"],
        usd=scenario["usd"],
        rounds_reply=scenario["rounds"]["reply"],
        rounds_turn=scenario["rounds"]["turn"],
        seconds_reply=None,
        seconds_turn=None,
        reply_id="",
        asked_by_role=by_role,
        asked_by_purpose=by_purpose,
        asked_by_node=by_node,
        requests_by_role=by_role,
        requests_by_purpose=by_purpose,
    )
