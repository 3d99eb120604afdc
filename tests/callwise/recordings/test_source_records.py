"""Times in their usual written forms."""

from typing import Any

import pytest

from callwise.recordings.source_records import iso_time


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2024-05-01", "2024-05-01"),
        ("2024-05-01T10:00:00+02:00", "2024-05-01T10:00:00+02:00"),
        ("2024-05-01 10:00:00", "2024-05-01 10:00:00"),
        ("2024-05-01 10:00:00 UTC", "2024-05-01 10:00:00+00:00"),
        (1714557600, "2024-05-01T10:00:00+00:00"),
        (1714557600.25, "2024-05-01T10:00:00.250000+00:00"),
        (1714557600123, "2024-05-01T10:00:00.123000+00:00"),
        (1714557600123456, "2024-05-01T10:00:00.123456+00:00"),
        ("1714557600.000200", "2024-05-01T10:00:00.000200+00:00"),
        ("2024/5/1 9:07", "2024-05-01T09:07:00"),
        ("2024-1-5@15h04m05s", "2024-01-05T15:04:05"),
        ("2024-01-05 @15h 04m 05s 123ms", "2024-01-05T15:04:05"),
        ("January 5, 2024 3:04pm", "2024-01-05T15:04:00"),
        ("May 1, 2024", "2024-05-01"),
        ("1:56 pm on 8 May, 2023", "2023-05-08T13:56:00"),
        ("12:05 am on 3 June, 2023", "2023-06-03T00:05:00"),
        ("Wed, 01 May 2024 10:00:00 GMT", "2024-05-01T10:00:00+00:00"),
    ],
)
def test_a_time_is_read(value: Any, time: str) -> None:
    """ISO 8601 comes back as it is; unix times are told by their size, and are in UTC."""
    assert iso_time(value) == time


@pytest.mark.parametrize(
    "value",
    ["", "yesterday", "noon", "20240501", "2024-W18", "01/05/2024", "2024-13-01", "Mai 1, 2024",
     "31 June 2023", "1:56 pm on 31 June, 2023", "13:00 pm on 1 May, 2024", "12", 1, 0, -1, 1e30,
     float("nan"), float("inf"), True, None, [], {}],
)  # fmt: skip
def test_what_is_no_time_or_two_is_not_read(value: Any) -> None:
    """What has two meanings, or none, is not guessed."""
    assert iso_time(value) is None
