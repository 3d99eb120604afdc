"""Why a call is not in the recording: the first difference to the nearest prompt."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from turnwise.budget.recorder import Where
from turnwise.calls.call import Call
from turnwise.calls.errors import FormatError
from turnwise.calls.key import CallKey
from turnwise.replay.cassette_exchange import lane_digest, prompt_of
from turnwise.replay.cassette_file import CassetteFile
from turnwise.replay.normalising import Normaliser

__all__ = ["explain_miss"]

_SHOWN_CHARS = 60
"""How much of each text is shown from the first difference on, in characters."""
_LEAD_CHARS = 20
"""How much of what both have in common is shown before it, in characters."""

_Piece = tuple[str, str]
"""What a part of a prompt is called, and its text."""


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


def _common_chars(one: str, other: str) -> int:
    """Return how many characters two texts start with in common."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _likeness(asked: list[_Piece], recorded: list[_Piece]) -> int:
    """Return how many characters two prompts start with in common."""
    total = 0
    for one, other in zip(asked, recorded, strict=False):
        if one == other:
            total += len(one[1]) + 1
        elif one[0] == other[0]:
            return total + _common_chars(one[1], other[1])
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
            start = _common_chars(text, other_text)
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
    asked: Mapping[str, Any], recorded: Mapping[str, Any], where: Where, line: Mapping[str, Any]
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


def _entries_of_kind(cassette: CassetteFile, where: Where) -> Iterator[int]:
    """Return the entries of the same node and purpose."""
    kind = (where.node, where.purpose.value)
    for entry in range(len(cassette.index)):
        try:
            fields = cassette.fields(entry)
        except ValueError:
            continue  # a damaged line, which is an error when it is played
        if (fields.get("node"), fields.get("purpose")) == kind:
            yield entry


def _nearest(
    cassette: CassetteFile, asked: list[_Piece], where: Where
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


def explain_miss(
    cassette: CassetteFile, key: CallKey, call: Call, where: Where, normaliser: Normaliser
) -> str:
    """Return in words which call is not recorded, and how it differs from the nearest.

    Both are compared without what the normaliser leaves out. Reads the whole file when the
    scope itself recorded nothing; a miss ends a run.
    """
    head = (
        f"{cassette.path} has no recording of this call: conversation {where.conversation}, "
        f"turn {where.turn}, node {where.node}, role {where.role.value}, "
        f"purpose {where.purpose.value} (scope {where.scope})"
    )
    advice = (
        "To ask the model for what is missing, replay with --mode new-episodes "
        "(in pytest: --turnwise-record)."
    )
    if cassette.index.knows(bytes.fromhex(key)):
        again = "This very call is recorded, but all its recordings have been played already."
        return f"{head}\n{again}\n{advice}"
    prompt = prompt_of(normaliser.call(call))
    found = _nearest(cassette, _pieces(prompt), where)
    if found is None:
        return f"{head}\nNothing of this node and purpose is recorded.\n{advice}"
    entry, line = found[0], normaliser.value(found[1])
    difference = _piece_difference(_pieces(prompt), _pieces(line)) or _settings_difference(
        prompt, line, where, line
    )
    return (
        f"{head}\nnearest recording: line {cassette.number(entry)}, scope {found[1].get('scope')}\n"
        f"{difference}\n{advice}"
    )
