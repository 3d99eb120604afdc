"""One JSON record of a file: typed fields, times as ISO 8601, errors that name the place."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from callwise.calls.errors import FormatError

__all__ = ["MAX_KEPT_PROBLEMS", "RecordProblems", "SourceRecord", "iso_time", "named_type"]

_ISO = re.compile(r"\d{4}-\d{2}-\d{2}")
_NUMBER = re.compile(r"\d{9,17}(\.\d+)?")
_SLASHED = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})(?:[ T]+(\d{1,2}):(\d{2})(?::(\d{2}))?)?")
_TAVERN = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2}) ?@(\d{1,2})h ?(\d{1,2})m ?(\d{1,2})s.*")
_MONTH_FIRST = re.compile(
    r"(?P<month>[A-Za-z]{3,9})\.? (?P<day>\d{1,2}), (?P<year>\d{4})"
    r"(?:,? (?:at )?(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?"
    r" ?(?P<half>[AaPp][Mm])?)?"
)
_TIME_FIRST = re.compile(
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2}) ?(?P<half>[AaPp][Mm])? on "
    r"(?P<day>\d{1,2}) (?P<month>[A-Za-z]{3,9}),? (?P<year>\d{4})"
)
# Spelled out, because strptime reads month names in the machine's own language.
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FULL_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july",
    "august", "september", "october", "november", "december",
)  # fmt: skip

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS, _MILLISECONDS, _MICROSECONDS = 1e8, 1e11, 1e14
"""From where on a number counts in each unit: 1973 to 5138 in each of them."""


def _of_number(value: float) -> str | None:
    """Return a unix time in seconds, milliseconds or microseconds, by its size."""
    if not _SECONDS <= value < _MICROSECONDS * 1000:
        return None
    divisor = 1 if value < _MILLISECONDS else 1000 if value < _MICROSECONDS else 1_000_000
    try:
        moment = _EPOCH + timedelta(microseconds=round(value * 1_000_000 / divisor))
    except OverflowError:
        return None
    return moment.isoformat()


def _of_iso(text: str) -> str | None:
    # It also reads 20240501 and 2024-W18, which are as likely to be other numbers.
    if _ISO.match(text) is None:
        return None
    text = text.removesuffix(" UTC") + "+00:00" if text.endswith(" UTC") else text
    datetime.fromisoformat(text)
    return text


def _of_digits(text: str) -> str | None:
    return _of_number(float(text)) if _NUMBER.fullmatch(text) else None


def _of_numbers(text: str) -> str | None:
    match = _SLASHED.fullmatch(text) or _TAVERN.fullmatch(text)
    if match is None:
        return None
    return datetime(*(int(group or 0) for group in match.groups())).isoformat()  # type: ignore[arg-type]  # noqa: DTZ001 - none is stated


def _month(name: str) -> int:
    name = name.lower()
    return 1 + (_FULL_MONTHS if name in _FULL_MONTHS else _MONTHS).index(name)


def _of_words(text: str) -> str | None:
    match = _MONTH_FIRST.fullmatch(text) or _TIME_FIRST.fullmatch(text)
    if match is None:
        return None
    hour = int(match["hour"] or 0)
    if match["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if match["half"].lower() == "pm" else 0)
    moment = datetime(  # noqa: DTZ001 - a wall clock without a zone: none is stated
        int(match["year"]),
        _month(match["month"]),
        int(match["day"]),
        hour,
        int(match["minute"] or 0),
        int(match.groupdict().get("second") or 0),
    )
    return moment.date().isoformat() if match["hour"] is None else moment.isoformat()


def _of_mail(text: str) -> str | None:
    return parsedate_to_datetime(text).isoformat() if text[:3].isalpha() else None


_FORMS: tuple[Callable[[str], str | None], ...] = (
    _of_iso,
    _of_digits,
    _of_numbers,
    _of_words,
    _of_mail,
)


def iso_time(value: Any) -> str | None:
    """Return a time as ISO 8601; None when it is not sure.

    An ISO 8601 text comes back as it is. A unix time, in seconds, milliseconds or
    microseconds, is in UTC. 2024/05/01 10:00, May 1, 2024 10:00 AM and the dates of mail
    are read too; 01/05/2024 is not, since it has two meanings.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _of_number(value)
    if not isinstance(value, str):
        return None
    text = value.strip()
    for form in _FORMS:
        try:
            found = form(text)
        except (ValueError, TypeError, IndexError):  # the form fits, the date does not exist
            continue
        if found is not None:
            return found
    return None


_NAME_OF_TYPE = {
    "NoneType": "null",
    "bool": "a boolean",
    "dict": "an object",
    "float": "a number",
    "int": "a number",
    "list": "a list",
    "str": "a string",
}
MAX_KEPT_PROBLEMS = 1000
"""Of skipped records, so many are kept with their error; the rest are counted only."""


class RecordProblems:
    """Handling of bad records (stop, or set aside), and counts of what was left out.

    Attributes:
        skipped: the first bad records that were set aside.
        skipped_count: how many there were in all.
        notes: what a good record has that no turn shows, and how often.
        roles: how often each word for a speaker was read as which role.
    """

    def __init__(self, *, skip_bad: bool) -> None:
        self._skip_bad = skip_bad
        self.skipped: list[FormatError] = []
        self.skipped_count = 0
        self.notes: Counter[str] = Counter()
        self.roles: Counter[tuple[str, str]] = Counter()

    def meet(self, error: FormatError) -> None:
        """Set a problem aside.

        Raises:
            FormatError: the problem itself, unless bad records are skipped.
        """
        if not self._skip_bad:
            raise error
        self.skipped_count += 1
        if len(self.skipped) < MAX_KEPT_PROBLEMS:
            self.skipped.append(error)


def named_type(value: Any) -> str:
    """Return the JSON type of a value as errors name it."""
    return _NAME_OF_TYPE.get(type(value).__name__, type(value).__name__)


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A piece of JSON and its place.

    Args:
        line: 1-based line, or None in a file that is one JSON document.
        place: where inside, e.g. `record 3, message 2`. Counts from 1.
        document: the JSON value; not yet known to be an object.
        number: what distinguishes it from the other records of the file: its line, its number,
            or its key.
        is_whole_file: whether nothing else is in the file.
    """

    path: Path
    line: int | None
    place: str
    document: Any
    number: str = "1"
    is_whole_file: bool = False

    def problem(self, problem: str) -> FormatError:
        """Return the error of a problem here."""
        return FormatError(
            self.path, self.line, f"{self.place}: {problem}" if self.place else problem
        )

    def inside(self, document: Any, place: str, number: str | None = None) -> "SourceRecord":
        """Return a piece of this record as a record."""
        where = ", ".join(filter(None, (self.place, place)))
        is_whole_file = self.is_whole_file and not place
        return SourceRecord(
            self.path, self.line, where, document, number or self.number, is_whole_file
        )

    @property
    def fields(self) -> Mapping[str, Any]:
        """The record as an object.

        Raises:
            FormatError: when it is not one.
        """
        if not isinstance(self.document, dict):
            raise self.problem(f"expected a JSON object, got {named_type(self.document)}")
        return self.document

    def _wrong(self, name: str, expected: str) -> FormatError:
        value = self.fields.get(name)
        if name not in self.fields:
            keys = ", ".join(map(str, list(self.fields)[:8])) or "none"
            return self.problem(f"expected `{name}` ({expected}); it is missing, keys are: {keys}")
        return self.problem(f"expected `{name}` to be {expected}, got {named_type(value)}")

    def text(self, name: str) -> str:
        """Return a field that must be a string with something in it."""
        value = self.fields.get(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a string")
        if not value.strip():
            raise self.problem(f"expected `{name}` to be a text, it is empty")
        return value

    def optional_text(self, name: str) -> str | None:
        """Return a field that may be missing, null or blank: None then."""
        value = self.fields.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        if not isinstance(value, str):
            raise self._wrong(name, "a string")
        return value

    def identifier(self, *names: str) -> str | None:
        """Return the first of these fields that is there, as a string; None when none is.

        Whole numbers are accepted, since many data sets number their records.
        """
        for name in names:
            value = self.fields.get(name)
            if isinstance(value, int) and not isinstance(value, bool):
                return str(value)
            if value is not None:
                return self.text(name)
        return None

    def optional_count(self, name: str) -> int | None:
        """Return a field that is a whole number of at least 0; None when it is missing."""
        value = self.fields.get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(name, "a whole number")
        if value < 0:
            raise self.problem(f"expected `{name}` to be at least 0, got {value}")
        return value

    def optional_time(self, name: str) -> str | None:
        """Return a field that is a date or time, as ISO 8601; None when it is missing."""
        value = self.fields.get(name)
        if isinstance(value, str) and not value.strip():
            return None
        time = None if value is None else iso_time(value)
        if value is not None and time is None:
            raise self.problem(
                f"expected `{name}` to be an ISO 8601 time such as 2024-05-01T18:30:00, or a "
                f"unix time in seconds; got {str(value)[:40]!r}"
            )
        return time

    def items(self, name: str, called: str) -> Sequence["SourceRecord"]:
        """Return a field that is a list with something in it, each item a record.

        Args:
            called: what one item is called in an error, e.g. `message`.
        """
        value = self.fields.get(name)
        if not isinstance(value, list):
            raise self._wrong(name, "a list")
        if not value:
            raise self.problem(f"expected `{name}` to have a value, it is empty")
        return [
            self.inside(item, f"{called} {number}") for number, item in enumerate(value, start=1)
        ]
