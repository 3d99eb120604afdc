"""Feedback of people on a run: ratings, corrections and preferred replies, linked to their turn.

They are in `feedback.jsonl` of the run's folder, one record a line, appended under a lock. A record
names conversation and turn, and the call where it is about one, and has the digest of the reply
that was judged: feedback on a reply that the run no longer has is kept, counted and not used.
All texts are untrusted and stay text.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import orjson
from filelock import lock_descriptor
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from callwise.calls.errors import ConfigError, FormatError
from callwise.calls.payload import well_formed
from callwise.recordings.held_files import open_private, refuse_links
from callwise.recordings.run_folder import FEEDBACK_FILE, read_rows
from callwise.report.search_view import read_search

if TYPE_CHECKING:
    from callwise.report.run_record import RunRecord

__all__ = [
    "Feedback",
    "FeedbackNotKept",
    "add_feedback",
    "candidates_of",
    "feedback_of",
    "feedback_of_lines",
    "kept_feedback",
    "read_feedback",
]

_MAX_CHARS = 100_000
"""Longest text of a record, in characters."""


_NEW = "new"
"""Context of records that are added. Those of a file are read with the times that they have."""


class FeedbackNotKept(ConfigError):
    """The file of the feedback cannot be written; nothing was added."""


_text = Field(default=None, min_length=1, max_length=_MAX_CHARS)


class Feedback(BaseModel):
    """Feedback on the reply of one turn, or on the answer of one of its calls."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    conversation: str
    """Id of the conversation."""
    turn: int = Field(ge=0)
    """Number of the turn; starts at 0."""
    call: int | None = Field(default=None, ge=1)
    """Number of the call in the ledger (`sequence`); None for the reply of the turn."""
    key: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """Identity of that call; filled in when the record is added."""
    reply: str = Field(default="", pattern=r"^([0-9a-f]{16})?$")
    """Digest of the reply that was judged; filled in when the record is added."""
    rating: int | None = Field(default=None, ge=1, le=5)
    """From 1 to 5, the best."""
    thumb: Literal["up", "down"] | None = None
    """A rating of two values."""
    correction: str | None = _text
    """The text that should have been in its place."""
    preferred: str | None = _text
    """The candidate of the turn's search that is preferred: its id, or its text. The text is
    kept."""
    comment: str | None = _text
    """A remark, which is in no export."""
    by: str = Field(default="", max_length=200)
    """Name of the person; empty where it is not known."""
    time: str | None = Field(default=None, max_length=64)
    """Time at which it was given, as ISO 8601, where it is known."""

    @field_validator("turn", "call", "rating", mode="before")
    @classmethod
    def _is_a_number(cls, given: Any) -> Any:
        if isinstance(given, bool):
            raise ValueError(f"{str(given).lower()} is no number")  # noqa: TRY004 - pydantic reads it
        return given

    @field_validator("correction", "preferred", "comment")
    @classmethod
    def _has_text(cls, given: str | None) -> str | None:
        if given is not None and not given.strip():
            raise ValueError("the text is empty: leave the field out")
        return given

    @field_validator("time")
    @classmethod
    def _is_a_time(cls, given: str | None, info: ValidationInfo) -> str | None:
        if given is not None and info.context == _NEW:
            try:
                datetime.fromisoformat(given)
            except ValueError as error:
                raise ValueError(
                    f"{given!r:.80} is no ISO 8601 time, such as 2027-01-15T08:00:00+00:00"
                ) from error
        return given

    @model_validator(mode="after")
    def _has_something(self) -> Self:
        given = (self.rating, self.thumb, self.correction, self.preferred, self.comment)
        if all(each is None for each in given):
            raise ValueError(
                "there is no feedback in it: give rating, thumb, correction, preferred or comment"
            )
        if self.rating is not None and self.thumb is not None:
            raise ValueError("rating and thumb are two ratings: give one of them")
        if self.call is not None and self.preferred is not None:
            raise ValueError("a preferred candidate is of a turn: leave out `call`")
        return self

    @property
    def score(self) -> float | None:
        """The rating; a thumb as 5 or 1; None without either."""
        if self.rating is not None:
            return float(self.rating)
        return None if self.thumb is None else {"up": 5.0, "down": 1.0}[self.thumb]


def reply_digest(text: str) -> str:
    """Return the digest of a reply, as sweeps have it."""
    data = text.encode("utf-8", "backslashreplace")
    return hashlib.sha256(data).hexdigest()[:16] if text else ""


def candidates_of(turn: Mapping[str, Any]) -> dict[str, str]:
    """Return the text of each candidate for a turn's reply by its id; none where there is none.

    They are those of its search, or of `candidates` in a record of another program.
    """
    given = turn.get("candidates")
    if isinstance(given, Mapping):
        return {
            name: text for name, text in given.items() if isinstance(text, str) and text.strip()
        }
    try:
        view = read_search(turn.get("search") or {})
    except ValueError:
        return {}
    return {node.id: node.reply for node in view.candidates if node.reply.strip()}


def feedback_of(given: Mapping[str, Any], *, is_strict: bool = False) -> Feedback:
    """Return a record of fields, whose texts are made whole.

    Args:
        given: untrusted.
        is_strict: whether a number in a text is refused.

    Raises:
        ValidationError: when it is no feedback.
    """
    whole: Any = given
    if isinstance(given, Mapping):
        whole = {name: well_formed(v) if isinstance(v, str) else v for name, v in given.items()}
    return Feedback.model_validate(whole, strict=is_strict or None, context=_NEW)


def _checked(given: Mapping[str, Any], where: str) -> Feedback:
    try:
        return feedback_of(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "record"
        problem = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where} cannot be used: {field}: {problem}") from error


class _Links:
    """Turns and calls of a run that feedback may be about."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        turns, _ = read_rows(folder / "turns.jsonl")
        self._turns = {(str(row["conversation_id"]), int(row["turn"])): row for row in turns}
        rows, _ = read_rows(folder / "ledger.jsonl")
        self._calls = {int(row.get("sequence", 0)): row for row in rows}

    def linked(self, record: Feedback) -> Feedback:
        """Return a record with the digest of its reply and the key of its call.

        Raises:
            ConfigError: when there is no such turn, call or candidate.
        """
        turn = self._turns.get((record.conversation, record.turn))
        if turn is None:
            numbers = sorted(n for name, n in self._turns if name == record.conversation)
            have = (
                f"it has the turns {numbers[0]} to {numbers[-1]} of it"
                if numbers
                else f"it has {len({name for name, _ in self._turns})} other conversations"
            )
            raise ConfigError(
                f"{self._folder} has no turn {record.turn} of {record.conversation!r:.80}: {have}"
            )
        found: dict[str, Any] = {"reply": reply_digest(str(turn.get("reply") or ""))}
        if record.reply and record.reply != found["reply"]:
            raise ConfigError(
                f"turn {record.turn} of {record.conversation!r:.80} in {self._folder} has another "
                "reply than the feedback (`reply`): it is about another run"
            )
        if record.call is not None:
            found["key"] = self._key(record)
        if record.preferred is not None:
            found["preferred"] = self._preferred(record, turn)
        return record.model_copy(update=found)

    def _key(self, record: Feedback) -> str:
        row = self._calls.get(record.call or 0, {})
        if (row.get("conversation"), str(row.get("turn"))) != (
            record.conversation,
            str(record.turn),
        ):
            own = [
                number
                for number, each in self._calls.items()
                if (each.get("conversation"), str(each.get("turn")))
                == (record.conversation, str(record.turn))
            ]
            calls = f"calls {min(own)} to {max(own)}" if own else "no calls"
            raise ConfigError(
                f"call {record.call} is not of turn {record.turn} of {record.conversation!r:.80}, "
                f"which has {calls} (`sequence` in ledger.jsonl)"
            )
        key = str(row.get("key") or "")
        if record.key and record.key != key:
            raise ConfigError(
                f"call {record.call} of {self._folder} has another key than the feedback: it is "
                "about another run"
            )
        return key

    def _preferred(self, record: Feedback, turn: Mapping[str, Any]) -> str:
        candidates = candidates_of(turn)
        wanted = record.preferred or ""
        if wanted in candidates:
            return candidates[wanted]
        if wanted in candidates.values() or wanted == turn.get("reply"):
            return wanted
        known = ", ".join(candidates) or "none"
        raise ConfigError(
            f"turn {record.turn} of {record.conversation!r:.80} has no candidate {wanted!r:.80}; "
            f"its candidates: {known}. A text that no candidate has is a `correction`"
        )


def add_feedback(
    folder: Path, records: Iterable[Mapping[str, Any]], *, where: str = "feedback"
) -> list[Feedback]:
    """Add records to a run, all of them or none, and return them as they are kept.

    Args:
        records: fields of `Feedback`. Untrusted.
        where: their source, for errors.

    Raises:
        ConfigError: when one is no feedback, or is about a turn, call or candidate that the run
            does not have; or the file cannot be written.
        FormatError: when the run cannot be read.
    """
    refuse_links(folder)
    links = _Links(folder)
    linked = [
        links.linked(_checked(each, f"{where}, record {number}"))
        for number, each in enumerate(records, start=1)
    ]
    lines = b"".join(
        orjson.dumps(
            each.model_dump(mode="json", exclude_defaults=True), option=orjson.OPT_APPEND_NEWLINE
        )
        for each in linked
    )
    path = folder / FEEDBACK_FILE
    try:
        file = open_private(path, os.O_RDWR | os.O_CREAT)
        try:
            lock_descriptor(file)
            # A process that was killed may have left half a line.
            with open(file, "rb", closefd=False) as before:
                whole = before.read().rfind(b"\n") + 1
            os.ftruncate(file, whole)
            os.lseek(file, whole, os.SEEK_SET)
            with open(file, "wb", closefd=False) as after:
                after.write(lines)
        finally:
            os.close(file)
    except OSError as error:
        raise FeedbackNotKept(f"cannot write {path}: {error.strerror or error}") from error
    return linked


def read_feedback(run: "RunRecord") -> tuple[list[Feedback], list[str]]:
    """Return a run's feedback on replies that it still has, and notices; none without a file.

    Raises:
        FormatError: when the file cannot be read.
    """
    path = run.folder / FEEDBACK_FILE
    kept, notices = kept_feedback(path)
    replies = {turn.key: reply_digest(turn.reply) for turn in run.turns}
    found = [each for each in kept if replies.get((each.conversation, each.turn)) == each.reply]
    if stale := len(kept) - len(found):
        notices.append(
            f"{path.name}: {stale} records are about replies that the run no longer has, and were "
            "left out"
        )
    return found, notices


def kept_feedback(path: Path) -> tuple[list[Feedback], list[str]]:
    """Return all records of a run's file, and notices; none without a file.

    A last line that is cut off, by a process that was killed, is left out.

    Raises:
        FormatError: when it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise FormatError(path, None, f"cannot be read: {error.strerror or error}") from error
    whole, _, rest = data.rpartition(b"\n")
    notices = [f"{path.name}: the last line is cut off and was left out"] if rest else []
    found = []
    for number, given in _json_lines(path, whole):
        try:
            found.append(Feedback.model_validate(given))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(map(str, first["loc"])) or "line"
            raise FormatError(path, number, f"{field}: {first['msg']}") from error
    return found, notices


def _json_lines(path: Path, data: bytes) -> Iterable[tuple[int, Any]]:
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise FormatError(path, number, f"expected one JSON object a line: {error}") from error


def feedback_of_lines(path: Path) -> Sequence[Mapping[str, Any]]:
    """Return the records of a file of JSON Lines, to be added to a run.

    Raises:
        FormatError: when it cannot be read, or a line is no JSON object.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FormatError(path, None, f"cannot be read: {error.strerror or error}") from error
    found = []
    for number, record in _json_lines(path, data):
        if not isinstance(record, dict):
            raise FormatError(path, number, "expected one JSON object a line")
        found.append(record)
    return found
