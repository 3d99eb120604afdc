"""Days of the year that a text names, as index terms.

People ask their companion "what did we talk about on April 28?" and "4月28号我们聊了什么?".
The day of a turn is known, so a day in a question is as good as a word. Years are
left out: a question seldom has one, and a day without one means the latest.
"""

import re

__all__ = ["day_of_time", "split_days"]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"({'|'.join(_MONTHS)})[a-z]*\.?"
_DAY = r"([0-3]?\d)(?:st|nd|rd|th)?"
_PATTERNS = (
    re.compile(r"(?:\d{4}\s*年\s*)?(?<!\d)(1[0-2]|0?[1-9])\s*月\s*([0-3]?\d)\s*[日号號]?"),
    re.compile(r"(?<!\d)\d{4}-(0[1-9]|1[0-2])-([0-3]\d)(?!\d)"),
    re.compile(rf"\b{_MONTH}\s+{_DAY}\b(?!\s*[:%])", re.IGNORECASE),
)
_DAY_FIRST = re.compile(rf"\b{_DAY}\s+(?:of\s+)?{_MONTH}(?![a-z])", re.IGNORECASE)
_TIME = re.compile(r"\d{4}-(\d{2})-(\d{2})")


def _term(month: str, day: str) -> str | None:
    month_number = int(month) if month.isdigit() else _MONTHS.index(month[:3].lower()) + 1
    day_number = int(day)
    return f"@{month_number:02d}-{day_number:02d}" if 1 <= day_number <= 31 else None


def split_days(text: str) -> tuple[list[str], str]:
    """Return the days that a text names and the text without them.

    Args:
        text: any text; Chinese, ISO 8601 and English dates with a day are found.

    Returns:
        Terms such as `@04-28` in order of pattern and place, and the rest.
    """
    if not any(map(str.isdigit, text)):
        return [], text
    days: list[str] = []

    def take(month: str, day: str, whole: str) -> str:
        term = _term(month, day)
        if term is None:
            return whole
        days.append(term)
        return " "

    for pattern in _PATTERNS:
        text = pattern.sub(lambda match: take(match[1], match[2], match[0]), text)
    text = _DAY_FIRST.sub(lambda match: take(match[2], match[1], match[0]), text)
    return days, text


def day_of_time(time: str | None) -> str | None:
    """Return the day of an ISO 8601 time as a term, or None where it has none."""
    match = _TIME.match(time) if time else None
    return _term(match[1], match[2]) if match else None
