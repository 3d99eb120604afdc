"""A baseline: the spending of a run, turn by turn, as a file that is committed with the code.

It contains figures, knobs and digests only: no message, no reply, no path, no key. The same
run gives the same bytes, whatever the concurrency it was made with.
"""

import json
import os
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from callwise.calls.errors import ConfigError, FormatError
from callwise.recordings.typed_json import under_this_name
from callwise.report.run_record import TurnKey

__all__ = [
    "BASELINE_VERSION",
    "Baseline",
    "CallGroup",
    "TurnFigures",
    "baseline_text",
    "read_document",
    "write_text",
]


MAX_COUNT = 2**53
"""Largest count that is read: above it a mean of counts is no longer exact."""


Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]


Rounds = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class CallGroup(NamedTuple):
    """One kind of call of a turn.

    Args:
        node: the node's name as the ledger has it; `-` where none asked. Untrusted.
    """

    node: str
    role: str
    purpose: str

    def __str__(self) -> str:
        """Return it as in a baseline: `lats_search/main/expand`."""
        return "/".join(self)

    @classmethod
    def of(cls, text: str) -> "CallGroup":
        """Return the path of a baseline's key; a node's name may contain slashes.

        Raises:
            ValueError: when it has not three parts.
        """
        parts = text.rsplit("/", 2)
        if len(parts) != 3 or not all(parts):
            raise ValueError(f"expected node/role/purpose, got {text!r}")
        return cls(*parts)


def _whole_paths(asked: dict[str, int]) -> dict[str, int]:
    for text in asked:
        CallGroup.of(text)
    return asked


AskedCalls = Annotated[
    dict[str, Annotated[int, Field(ge=1, le=MAX_COUNT)]], AfterValidator(_whole_paths)
]
"""Calls asked by `node/role/purpose`; a path without calls has no key."""


class TurnFigures(BaseModel):
    """One turn's figures. Unknown ones are None, never 0."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    conversation: str
    """The conversation's id. Untrusted."""
    turn: Count
    """Its number there. Starts at 0."""
    asked: AskedCalls = {}
    """Calls asked by `node/role/purpose`, refused ones too; what was not asked has no key."""
    refused: Count = 0
    """Those of them that a limit refused; left out of a file where 0."""
    unreadable: Count = 0
    """Answers that were not in the form that was asked for; left out of a file where 0."""
    degraded: Count = 0
    """Nodes and roles that the turn went on without; left out of a file where 0."""
    requests: Count = 0
    """HTTP requests; in a replay those that the recording paid."""
    input_tokens: Count | None = None
    """Prompt tokens of all calls; None where a part is not known."""
    output_tokens: Count | None = None
    """Answer tokens, likewise."""
    usd: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None
    """Cost; None where a part is not known, which is not 0."""
    rounds_reply: Rounds | None = None
    """Rounds until the reply; None where not recorded."""
    rounds_turn: Rounds | None = None
    """Rounds until the turn's end, likewise."""
    quality: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Quality of the reply in the judge's own unit; None where not judged."""

    @model_serializer(mode="wrap")
    def _without_zeros(self, as_whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = as_whole(self)
        return {
            name: value
            for name, value in document.items()
            if value or name not in {"refused", "unreadable", "degraded"}
        }

    @property
    def key(self) -> TurnKey:
        """Conversation and number of the turn."""
        return self.conversation, self.turn

    @property
    def asked_count(self) -> int:
        """Calls asked in all."""
        return sum(self.asked.values())

    @property
    def tokens(self) -> int | None:
        """Prompt and answer tokens together; None where a part is not known."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens


BASELINE_VERSION: Literal[1] = 1


_WAY_OUT = "restore it from version control, or make it again with --update"


class Baseline(BaseModel):
    """The spending of a run, and its app, knobs and conversations."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    callwise_baseline: Literal[1] = BASELINE_VERSION
    """Version of the format."""
    app: str
    """Import string or name of the app."""
    preset: str = ""
    """Name of the preset; empty for an app that has none."""
    conversations: str | None = None
    """Digest of the conversations; None where not recorded."""
    is_simulated: bool = False
    """Whether a simulated model gave every answer."""
    is_replayed: bool = False
    """Whether every answer came from a recording."""
    knobs: dict[str, JsonValue] = {}
    """Knobs that the preset or the user set, flat: `search.rollouts` to 4. The others have
    their defaults, so that a new default changes no baseline."""
    prompts: dict[str, str] | None = None
    """Digest of each prompt by name; None where not recorded."""
    asked_outside: AskedCalls = {}
    """Calls asked outside of any turn, by `node/role/purpose`."""
    turns: tuple[TurnFigures, ...] = ()
    """Its finished turns, sorted by conversation and number; none twice."""

    @model_validator(mode="before")
    @classmethod
    def _without_settings(cls, document: Any) -> Any:
        # Earlier files had a digest of all knobs here, which every new default changed.
        if isinstance(document, dict) and isinstance(document.get("settings"), str):
            return {name: value for name, value in document.items() if name != "settings"}
        return document

    @field_validator("callwise_baseline", mode="before")
    @classmethod
    def _is_this_version(cls, version: Any) -> Any:
        # True is 1 in Python, and no version.
        return None if isinstance(version, bool) else version

    @field_validator("turns", mode="before")
    @classmethod
    def _from_a_list(cls, turns: Any) -> Any:
        return tuple(turns) if isinstance(turns, list) else turns

    @field_validator("turns")
    @classmethod
    def _has_no_turn_twice(cls, turns: tuple[TurnFigures, ...]) -> tuple[TurnFigures, ...]:
        ordered = sorted(turns, key=lambda each: each.key)
        for before, after in pairwise(ordered):
            if before.key == after.key:
                raise ValueError(f"turn {after.turn} of {after.conversation!r} is there twice")
        return tuple(ordered)

    @property
    def is_exact(self) -> bool:
        """Whether the same run again gives the same counts: nothing in it was live."""
        return self.is_simulated or self.is_replayed

    @property
    def asked_count(self) -> int:
        """Calls asked in all, those outside of turns included."""
        return sum(turn.asked_count for turn in self.turns) + sum(self.asked_outside.values())

    @property
    def mean_calls_per_turn(self) -> float:
        """Mean calls per turn, without those that a limit refused; 0 without turns."""
        made = sum(turn.asked_count for turn in self.turns) - self.refused_count
        return made / max(len(self.turns), 1)

    @property
    def refused_count(self) -> int:
        """Calls of turns that a limit refused."""
        return sum(turn.refused for turn in self.turns)

    @classmethod
    def read(cls, path: Path) -> "Baseline":
        """Return the baseline in a file.

        Raises:
            ConfigError: when there is no such file.
            FormatError: when it is half-written, of another version, or nonsense.
        """
        document = read_document(Path(path))
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "baseline"
            words = first["msg"].removeprefix("Value error, ")
            raise FormatError(path, None, f"{where}: {words}; {_WAY_OUT}") from error

    def text(self) -> str:
        """Return it as it is committed: JSON, one line per knob and turn."""
        return baseline_text(self.model_dump(mode="json", exclude_none=True))

    def write(self, path: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            ConfigError: when the file may not be written, or is something else than a
                baseline; nothing was overwritten then.
        """
        write_text(Path(path), self.text())


_MARKS = (b'"callwise_baseline"', b'"turnwise_baseline"')


_MARK_WITHIN_BYTES = 256
"""The mark is at the head of a file, so that it is found when the end is lost."""


_CONFLICT = re.compile(rb"^(?:<{7}|>{7}|\|{7})(?:[ \r\n]|$)|^={7}\r?$", re.MULTILINE)


_UNMERGED = (
    "has the conflict markers of a merge that is not finished: keep one side (`git checkout "
    "--ours` or `--theirs` and the file), and then use --update if the calls have changed"
)


def _compact(value: Any) -> str:
    return json.dumps(
        value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    )


def _block(brackets: str, lines: list[str]) -> str:
    if not lines:
        return brackets
    return brackets[0] + "\n" + ",\n".join(lines) + "\n" + brackets[1]


def baseline_text(document: Mapping[str, Any]) -> str:
    """Return a baseline's JSON: one line per fact, knob, prompt and turn, all sorted."""
    parts: list[str] = []
    for name, value in document.items():
        if name in {"knobs", "prompts", "asked_outside"}:
            lines = [f"{_compact(key)}:{_compact(value[key])}" for key in sorted(value)]
            parts.append(f"{_compact(name)}:{_block('{}', lines)}")
        elif name == "turns":
            # Which turn it is comes first, so that a reader of a diff finds it.
            lines = [_turn_line(turn) for turn in value]
            parts.append(f"{_compact(name)}:{_block('[]', lines)}")
        else:
            parts.append(f"{_compact(name)}:{_compact(value)}")
    return _block("{}", parts) + "\n"


def _turn_line(turn: Mapping[str, Any]) -> str:
    first = {"conversation": turn["conversation"], "turn": turn["turn"]}
    rest = {name: turn[name] for name in sorted(turn) if name not in first}
    ordered = [
        f"{_compact(name)}:{_compact(_plain(value))}" for name, value in (first | rest).items()
    ]
    return "{" + ",".join(ordered) + "}"


def _plain(value: Any) -> Any:
    """Return a whole number of rounds without its point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose names all differ: of two, a hand's edit means only one."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is given twice")
        found[name] = value
    return found


def _refuse_conflict(path: Path, data: bytes) -> None:
    """Refuse a file with the markers of an unfinished merge, by a FormatError with the line."""
    found = _CONFLICT.search(data)
    if found is not None:
        raise FormatError(path, data.count(b"\n", 0, found.start()) + 1, _UNMERGED)


def read_document(path: Path) -> dict[str, Any]:
    """Return a baseline's JSON, of a version that this Callwise reads.

    Raises:
        ConfigError: when there is no such file.
        FormatError: when it is not JSON, no baseline, or of another version.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"there is no baseline {path}; make it with --update") from None
    except OSError as error:
        raise FormatError(path, None, f"cannot be read: {error.strerror or error}") from error
    _refuse_conflict(path, data)
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_named_once)
    except json.JSONDecodeError as error:
        raise FormatError(
            path,
            error.lineno,
            f"expected a baseline as JSON, and this is cut off or edited: {error.msg}; {_WAY_OUT}",
        ) from error
    except (ValueError, RecursionError) as error:
        words = str(error) if isinstance(error, ValueError) else "nested too deeply"
        raise FormatError(path, None, f"expected a baseline as JSON: {words}") from error
    document = under_this_name(document)
    if not isinstance(document, dict) or "callwise_baseline" not in document:
        raise FormatError(path, None, "is no baseline: expected JSON with `callwise_baseline`")
    version = document["callwise_baseline"]
    if isinstance(version, bool) or version != BASELINE_VERSION:
        raise FormatError(
            path,
            None,
            f"is a baseline of format {version!r}, this Callwise reads {BASELINE_VERSION}; "
            "make it again with --update, or use the Callwise that wrote it",
        )
    return document


def _refuse_other_files(path: Path) -> None:
    """Refuse to overwrite what is no baseline. A torn or old baseline is still one.

    Raises:
        ConfigError: when something else is there.
        FormatError: when a merge of the file is not finished.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"cannot write the baseline {path}: {error.strerror}") from error
    _refuse_conflict(path, data)
    if not any(mark in data[:_MARK_WITHIN_BYTES] for mark in _MARKS):
        raise ConfigError(
            f"{path} is no baseline and was not overwritten; choose another file, or delete it"
        )


def write_text(path: Path, text: str) -> None:
    """Write a baseline's text, whole or not at all.

    Raises:
        ConfigError: when the file is something else than a baseline, or cannot be
            written.
        FormatError: when a merge of the file is not finished; with the line.
    """
    _refuse_other_files(path)
    # Its own name, so that two processes that write concurrently do not mix.
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)  # a link of this name would be followed
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ConfigError(f"cannot write the baseline {path}: {error.strerror}") from error
