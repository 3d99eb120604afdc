"""Checks and explanations of a cassette for people: is it whole, why is a call not in it.

`survey_cassette` reads every line, `seal_cassette` writes fresh checksums after a change on
purpose, and `explain_miss` shows the first difference between a call and the nearest prompt
that is recorded.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callwise.budget.recorder import CallOrigin
from callwise.calls.call import Call
from callwise.calls.errors import FormatError
from callwise.calls.key import CallKey
from callwise.recordings.cassette_file import CassetteFile
from callwise.recordings.cassette_format import (
    check_needed,
    check_types,
    decode_exchange,
    lane_digest,
    parse_line,
    prompt_of,
    split_head,
)
from callwise.recordings.cassette_header import (
    BOM,
    MAX_HEADER_BYTES,
    header_line,
    is_header,
    is_sealed,
    read_header,
    require_whole,
    seal_line,
)
from callwise.recordings.cassette_sharing import Sharing, common_chars, shared_name
from callwise.recordings.held_files import lock_file, open_file, open_fresh, unpacked
from callwise.recordings.normalising import Normaliser
from callwise.recordings.shared_lines import restore, whole_prompt
from callwise.safe_text import printable

__all__ = [
    "MISS_HINT",
    "CassetteSurvey",
    "explain_miss",
    "readable_exchanges",
    "seal_cassette",
    "survey_cassette",
]

MISS_HINT = (
    "To ask the model for what is missing, run the same command with --record FILE in place of "
    "--cassette FILE and a new --out, then check --update (in pytest: --callwise-record)."
)
"""Last line of the text of a miss."""

MAX_SHOWN = 20
"""Damaged lines that are named; the rest is counted."""


@dataclass(frozen=True, slots=True)
class CassetteSurvey:
    """Survey of a cassette, every line read.

    Args:
        recovered_bytes: length of a broken last line.
        damaged: the errors of lines that cannot be played, the first ones.
    """

    normalise: tuple[str, ...]
    exchanges: int
    recovered_bytes: int
    damaged: tuple[str, ...]
    damaged_count: int


def survey_cassette(path: Path) -> CassetteSurvey:
    """Return what a cassette contains, every line read.

    Raises:
        FormatError: when it cannot be opened at all.
    """
    file = CassetteFile.open_reading(path)
    damaged: list[str] = []
    count = 0
    try:
        for entry in range(len(file.index)):
            try:
                file.decoded(entry, file.read(entry, is_prompt_whole=True))
            except FormatError as error:
                count += 1
                if len(damaged) < MAX_SHOWN:
                    damaged.append(str(error))
        rules = (f"{kind} {text}" for each in file.normalise for kind, text in each.items())
        return CassetteSurvey(
            normalise=tuple(rules),
            exchanges=len(file.index),
            recovered_bytes=file.recovered_bytes,
            damaged=tuple(damaged),
            damaged_count=count,
        )
    finally:
        file.close()


def readable_exchanges(
    path: Path, *, shared: dict[str, dict[str, Any]] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the exchanges of a cassette in the file's order, their prompts not put together.

    The file may be packed with gzip.

    Damaged lines are passed over, the broken last line of a recording that was killed too.

    Args:
        shared: where the shared lines are put by their names, with which
            `shared_lines.whole_prompt` puts a prompt together; None where no prompt is needed.

    Raises:
        OSError: when the file cannot be read.
        FormatError: when it is no plain file, or a broken gzip file.
    """
    known = {} if shared is None else shared
    with os.fdopen(unpacked(open_file(path, os.O_RDONLY), path), "rb") as lines:
        lines.seek(0)
        for line in lines:
            try:
                name = shared_name(line)
                if name is None and is_sealed(line):
                    require_whole(line)
                fields = parse_line(line)
                if name is None:
                    yield restore(fields, known.__getitem__)
                elif shared is not None or "common" in fields:
                    known[name.decode()] = fields
            except (LookupError, ValueError):
                continue


def _sealed_lines(path: Path) -> Iterator[bytes]:
    """Return the lines of a cassette with fresh checksums, its header first.

    A shared line that was changed gets another name, so that all lines are written again.

    Raises:
        FormatError: when a line is no exchange, whatever its checksum.
    """
    with path.open("rb") as file:
        first = file.readline(MAX_HEADER_BYTES)
        rules = read_header(path, first, is_changed=True)
        yield header_line(rules)
        old: dict[str, dict[str, Any]] = {}
        new: set[bytes] = set()
        sharing = Sharing(new.__contains__)
        for number, raw in enumerate(file, start=2):
            line = raw.removeprefix(BOM).rstrip() + b"\n"
            if line == b"\n":
                continue
            if is_header(line):
                if read_header(path, line, line=number, is_changed=True) != rules:
                    raise FormatError(
                        path, number, "starts another cassette with other normalisers: cut it here"
                    )
                continue
            try:
                document = parse_line(line)
                if "shared" in document:
                    old[str(document.pop("shared"))] = document
                    continue
                split_head(line)
                document = whole_prompt(restore(document, old.__getitem__), old.__getitem__)
                document.pop("check", None)
                check_types(document)
                check_needed(document)
                decode_exchange(document)
                shared, line = sharing.pack(document)
            except (LookupError, ValueError) as error:
                problem = (
                    f"it refers to the shared line {error}, which is not before it"
                    if isinstance(error, LookupError)
                    else error
                )
                raise FormatError(
                    path,
                    number,
                    f"this line cannot be sealed: {problem}. Correct it or delete it, and seal the "
                    "file again",
                ) from error
            new.update(shared)
            yield from shared.values()
            yield seal_line(line)


def seal_cassette(path: Path) -> int:
    """Give every line of a cassette a fresh checksum, and return how many there are.

    The file is replaced once the whole of it is written.

    Raises:
        FormatError: when it is no cassette, or a line is no exchange. It is left alone.
        ConfigError: when another process records to it.
        OSError: when it cannot be written.
    """
    partial = path.with_name(f"{path.name}.part")
    count = -1
    held = open_file(path, os.O_RDWR)
    try:
        lock_file(held, path)
        with open_fresh(partial) as sealed:
            for line in _sealed_lines(path):
                sealed.write(line)
                count += not line.startswith(b'{"shared"')
        shutil.copymode(path, partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(held)
    return count


_SHOWN_CHARS = 60
"""Characters of each text that are shown from the first difference on."""
_LEAD_CHARS = 20
"""Characters of the common beginning that are shown before it."""

_Piece = tuple[str, str]
"""Name of a part of a prompt, and its text."""


def _pieces(prompt: Mapping[str, Any]) -> list[_Piece]:
    """Return a prompt's messages, or its texts to embed, in order."""
    pieces = []
    for number, message in enumerate(prompt.get("messages", ()), start=1):
        text = str(message.get("content"))
        extra = {name: message[name] for name in message if name not in {"role", "content"}}
        if extra:
            text += f" {extra}"
        pieces.append((f"message {number} ({message.get('role')})", text))
    for number, text in enumerate(prompt.get("inputs", ()), start=1):
        pieces.append((f"input {number}", text))
    return pieces


def _likeness(asked: list[_Piece], recorded: list[_Piece]) -> int:
    """Return how many characters two prompts start with in common."""
    total = 0
    for one, other in zip(asked, recorded, strict=False):
        if one == other:
            total += len(one[1]) + 1
        elif one[0] == other[0]:
            return total + common_chars(one[1], other[1])
        else:
            return total
    return total


def _excerpt(text: str, start: int) -> str:
    lead = max(start - _LEAD_CHARS, 0)
    cut = text[lead : start + _SHOWN_CHARS]
    return f"{'…' if lead else ''}{cut}{'…' if start + _SHOWN_CHARS < len(text) else ''}"


def _piece_difference(asked: list[_Piece], recorded: list[_Piece]) -> str | None:
    for (name, text), (other_name, other_text) in zip(asked, recorded, strict=False):
        if name != other_name:
            return f"first difference: {name} is asked where {other_name} is recorded"
        if text != other_text:
            start = common_chars(text, other_text)
            return (
                f"first difference: {name}, character {start + 1}\n"
                f"  recorded: {_excerpt(other_text, start)!r}\n"
                f"  asked:    {_excerpt(text, start)!r}"
            )
    if len(asked) != len(recorded):
        longer, who = (asked, "asked") if len(asked) > len(recorded) else (recorded, "recorded")
        name, text = longer[min(len(asked), len(recorded))]
        return f"first difference: only {who} has {name}\n  {who}: {_excerpt(text, 0)!r}"
    return None


def _settings_difference(
    asked: Mapping[str, Any],
    recorded: Mapping[str, Any],
    where: CallOrigin,
    line: Mapping[str, Any],
) -> str:
    ours = {"endpoint": where.endpoint, "model": where.model, **asked.get("settings", {})}
    theirs = {
        "endpoint": line.get("endpoint"),
        "model": line.get("model"),
        **recorded.get("settings", {}),
    }
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            shown = [_excerpt(str(side.get(name)), 0) for side in (theirs, ours)]
            return (
                f"the prompts are equal; first difference: {name}\n"
                f"  recorded: {shown[0]}\n  asked:    {shown[1]}"
            )
    return "the prompts are equal and so is everything that a cassette shows"


def _readable(
    cassette: CassetteFile, entries: Iterable[int]
) -> Iterator[tuple[int, dict[str, Any]]]:
    for entry in entries:
        try:
            yield entry, cassette.read(entry, is_prompt_whole=True)
        except FormatError:
            continue  # a damaged line cannot be the nearest; it is reported when it is played


def _entries_of_kind(cassette: CassetteFile, where: CallOrigin) -> Iterator[int]:
    """Return the entries of the same node and purpose."""
    kind = (where.node, where.purpose.value)
    for entry, fields in cassette.readable():
        if (fields.get("node"), fields.get("purpose")) == kind:
            yield entry


def _nearest(
    cassette: CassetteFile, asked: list[_Piece], where: CallOrigin
) -> tuple[int, dict[str, Any]] | None:
    """Return the nearest line: of the same scope if there is one, else of the same kind."""
    for entries in (
        cassette.index.entries_of(lane_digest(where.scope)),
        _entries_of_kind(cassette, where),
    ):
        nearest = max(
            _readable(cassette, entries),
            key=lambda found: (_likeness(asked, _pieces(found[1])), -found[0]),
            default=None,
        )
        if nearest is not None:
            return nearest
    return None


def _kinds_line(cassette: CassetteFile) -> str:
    """Return nodes and purposes that are recorded, the first in the file first."""
    kinds = dict.fromkeys(
        f"{fields.get('node')} {fields.get('purpose')}" for _, fields in cassette.readable()
    )
    more = f" and {len(kinds) - MAX_SHOWN} more" if len(kinds) > MAX_SHOWN else ""
    shown = ", ".join(printable(kind[:80]) for kind in list(kinds)[:MAX_SHOWN])
    if not shown:
        return "Nothing is recorded in it."
    return f"Nothing of this node and purpose is recorded. It has: {shown}{more}."


def _endpoint_lines(
    where: CallOrigin, line: Mapping[str, Any], *, is_prompt_equal: bool, is_chosen: bool
) -> str:
    """Return the way out where another model, or with an equal prompt another host, is asked."""
    endpoint, model = line.get("endpoint"), line.get("model")
    if model == where.model and (endpoint == where.endpoint or not is_prompt_equal):
        return ""
    way_out = "set CALLWISE_BASE_URL and CALLWISE_MODEL as recorded"
    if is_chosen:
        way_out = (
            "a policy chose it, so replay with the `policies`, and the prices of `models`, that "
            "were recorded"
        )
    return (
        f"recorded with {printable(f'{model} at {endpoint}'[:200])}, and {where.model} at "
        f"{where.endpoint} is asked: {way_out}\n"
    )


def explain_miss(
    cassette: CassetteFile, key: CallKey, call: Call, where: CallOrigin, normaliser: Normaliser
) -> str:
    """Return which call is not recorded, and how it differs from the nearest.

    Both are compared without what the normaliser leaves out. Reads the whole file when the
    scope itself recorded nothing; a miss ends a run.
    """
    head = (
        f"{cassette.path} has no recording of this call: conversation {where.conversation}, "
        f"turn {where.turn}, node {where.node}, role {where.role.value}, "
        f"purpose {where.purpose.value} (scope {where.scope})"
    )
    hint = MISS_HINT
    if cassette.recovered_bytes:
        hint = (
            f"The end of {cassette.path} is cut off, in the middle of a line "
            f"({cassette.recovered_bytes} bytes): the call may have been there.\n{hint}"
        )
    if cassette.index.contains(bytes.fromhex(key)):
        again = "This very call is recorded, but all its recordings have been played already."
        return f"{head}\n{again}\n{hint}"
    prompt = prompt_of(normaliser.call(call))
    found = _nearest(cassette, _pieces(prompt), where)
    if found is None:
        return f"{head}\n{_kinds_line(cassette)}\n{hint}"
    entry, line = found[0], normaliser.value(found[1])
    in_prompt = _piece_difference(_pieces(prompt), _pieces(line))
    difference = in_prompt or _settings_difference(prompt, line, where, line)
    elsewhere = _endpoint_lines(
        where, line, is_prompt_equal=in_prompt is None, is_chosen=call.choice is not None
    )
    return (
        f"{head}\nnearest recording: line {cassette.number(entry)}, scope {found[1].get('scope')}\n"
        f"{difference}\n{elsewhere}{hint}"
    )
