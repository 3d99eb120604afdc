"""The file of a baseline: JSON in which a change of one turn is one line of a diff."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from turnwise.calls.errors import ConfigError, FormatError

__all__ = ["BASELINE_VERSION", "baseline_text", "read_document", "write_text"]

BASELINE_VERSION: Literal[1] = 1

_MARK = b'"turnwise_baseline"'
_MARK_WITHIN_BYTES = 256
"""A file that says what it is says so at its head, also when its end is lost."""

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
    """Return a baseline's JSON: a line a fact, a knob, a prompt and a turn, all sorted.

    Args:
        document: the baseline as plain JSON. Its turns are in order already.
    """
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


def _conflict_line(data: bytes) -> int | None:
    """Return the line of the first marker of an unfinished merge, counted from 1, or None."""
    found = _CONFLICT.search(data)
    return None if found is None else data.count(b"\n", 0, found.start()) + 1


def read_document(path: Path) -> dict[str, Any]:
    """Return a baseline's JSON, of a version that this Turnwise reads.

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
    line = _conflict_line(data)
    if line is not None:
        raise FormatError(path, line, _UNMERGED)
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_named_once)
    except json.JSONDecodeError as error:
        raise FormatError(
            path,
            error.lineno,
            f"expected a baseline as JSON, and this is cut off or edited: {error.msg}; "
            "restore it from version control, or make it anew with --update",
        ) from error
    except (ValueError, RecursionError) as error:
        words = str(error) if isinstance(error, ValueError) else "nested too deeply"
        raise FormatError(path, None, f"expected a baseline as JSON: {words}") from error
    if not isinstance(document, dict) or "turnwise_baseline" not in document:
        raise FormatError(path, None, "is no baseline: expected JSON with `turnwise_baseline`")
    version = document["turnwise_baseline"]
    if isinstance(version, bool) or version != BASELINE_VERSION:
        raise FormatError(
            path,
            None,
            f"is a baseline of format {version!r}, this Turnwise reads {BASELINE_VERSION}; "
            "make it anew with --update, or use the Turnwise that wrote it",
        )
    return document


def _refuse_strangers(path: Path) -> None:
    """Let nothing be overwritten that is no baseline. One that is torn or old is one still.

    Raises:
        ConfigError: when something else stands there.
        FormatError: when a merge of the file is not finished.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"cannot write the baseline {path}: {error.strerror}") from error
    line = _conflict_line(data)
    if line is not None:
        raise FormatError(path, line, _UNMERGED)
    if _MARK not in data[:_MARK_WITHIN_BYTES]:
        raise ConfigError(
            f"{path} is no baseline and was not overwritten; choose another file, or delete it"
        )


def write_text(path: Path, text: str) -> None:
    """Write a baseline's text, whole or not at all.

    Raises:
        ConfigError: when something else than a baseline stands there, or it may not be
            written.
        FormatError: when a merge of the file is not finished; with the line.
    """
    _refuse_strangers(path)
    # A name of its own, so that two that write at once do not mix.
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)  # a link of this name would be followed
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ConfigError(f"cannot write the baseline {path}: {error.strerror}") from error
