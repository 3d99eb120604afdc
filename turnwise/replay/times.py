"""Times of messages in their usual written forms, as ISO 8601."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

__all__ = ["iso_time"]

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
    """Return a unix time in seconds, milliseconds or microseconds, told by its size."""
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
    """Return a time as ISO 8601; None when it cannot be told for sure.

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
