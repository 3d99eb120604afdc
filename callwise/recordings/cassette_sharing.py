"""Shared lines of a cassette: what its exchanges have in common, written once.

Problem: the prompts of a run share their beginnings (instructions, a persona, the
conversation so far), and the exchanges of a node share most of their other fields: four
fifths of a cassette were repetitions.

Choice: what recurs has its own line before the first line that refers to it, and is named
by a digest of that line's content:

    {"shared":"<16 characters>","common":{"role":"judge","model":"…","settings":{…},…}}
    {"shared":"…","messages":[{"role":"system","content":"…"}]}
    {"shared":"…","after":"…","text":" and what is added to the text of that other line"}

An exchange then has `"common":"<name>"` in place of those fields, `"after":"<name>"` for the
messages that its own `messages` continue, and `{"after":"<name>","text":"…"}` in place of a
text. Fields that follow from others are left out: conversation, turn and node where the
scope's path names them, the charged tokens where they are the used ones, time and usage of
the answer where they are those of the exchange.

A thing is shared when it is seen for the second time, so that a cassette without repetitions
is not longer for it. Rejected: numbering the shared lines, because cassettes are joined end
to end; compressing the file, because it is read by people and compared line by line.

Invariant: `restore(pack(document)) == document`; `restore` is in `shared_lines`.
"""

import hashlib
import json
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

import orjson

from callwise.calls.reply import Reply
from callwise.recordings.cassette_format import COUNT_NAMES
from callwise.recordings.cassette_header import SEAL_HINT, LineDamaged

__all__ = [
    "USED",
    "Sharing",
    "common_chars",
    "line_of",
    "named_shared",
    "places_of",
    "shared_name",
    "whole_number",
]

MIN_SHARED_CHARS = 160
"""Shortest beginning that is written once: a shared line and a reference take about 80."""

MAX_KEPT_CHARS = 4_000_000
"""Most characters of recent prompts that a recorder keeps to compare with."""

MAX_RECENT = 16
"""Most recent prompts with the same start that a prompt is compared with."""

MAX_SEEN = 4_096
"""Most sets of common fields that a recorder remembers to have seen once."""

_START_CHARS = 64
_SHARED = b'{"shared":"'
_NAME_END = len(_SHARED) + 16

_COMMON = (
    *("role", "purpose", "endpoint", "model", "settings"),
    *("outcome", "attempts", "requests", "unknown_usage", "unknown_usd", "usage_note"),
)
_COMMON_OF_REPLY = ("model", "finish_reason", "is_simulated")
_REPLY_ORDER = tuple(each.name for each in fields(Reply))
_ORDER = (
    *("key", "lane", "asked", "common", "scope", "conversation", "turn", "node"),
    *("role", "purpose", "endpoint", "model", "after", "messages", "inputs", "settings"),
    *("outcome", *COUNT_NAMES, "reply", "error"),
)
_PLACES = {"conv:": "conversation", "turn:": "turn", "node:": "node"}
USED = ("input_tokens", "output_tokens", "cached_tokens")
"""Tokens of an exchange that its answer reports too."""

_UNKNOWN_CACHED = {"cached_tokens": None}


def line_of(document: Mapping[str, Any]) -> bytes:
    """Return a JSON object as one line, its end included."""
    try:
        return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        # Lone surrogates are legal in a Python string and illegal in UTF-8; json escapes them.
        return json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"


def _ordered(mapping: Mapping[str, Any], order: Sequence[str]) -> dict[str, Any]:
    """Return a mapping with the named fields first, in this order; the others by name."""
    ordered = {name: mapping[name] for name in order if name in mapping}
    if len(ordered) < len(mapping):
        ordered.update((name, mapping[name]) for name in sorted(mapping.keys() - ordered.keys()))
    return ordered


def _name_of(content: bytes) -> bytes:
    """Return the name of a shared line: 96 bits of its fields as written, in 16 characters."""
    return urlsafe_b64encode(hashlib.blake2b(content, digest_size=12).digest())


def named_shared(line: bytes) -> bytes | None:
    """Return the name that a shared line has, whole or damaged; None for another line."""
    return line[len(_SHARED) : _NAME_END] if line.startswith(_SHARED) else None


def shared_name(line: bytes) -> bytes | None:
    """Return the name of a shared line, or None for another line.

    Raises:
        LineDamaged: when the line is not as it was written.
    """
    name = named_shared(line)
    if name is None:
        return None
    content = line.rstrip()
    fields = content[_NAME_END + 2 : -1]
    if content != b'%b%b",%b}' % (_SHARED, name, fields) or _name_of(fields) != name:
        raise LineDamaged(
            f"its name does not fit it, so that it was changed or damaged. {SEAL_HINT}"
        )
    return name


@lru_cache(maxsize=256)
def places_of(scope: str) -> Mapping[str, str | None]:
    """Return conversation, turn and node as a scope's path names them."""
    places: dict[str, str | None] = dict.fromkeys(_PLACES.values())
    for part in scope.split("/"):
        if part[:5] in _PLACES:
            places[_PLACES[part[:5]]] = part[5:]
    return places


@dataclass(slots=True)
class _Group:
    """Recent prompts that start alike, and the beginnings of them that are shared by name."""

    recent: list[Sequence[Any]] = field(default_factory=list)
    shared: dict[Sequence[Any], str] = field(default_factory=dict)
    chars: int = 0


def _comparable(message: Mapping[str, Any]) -> tuple[str, str | bytes]:
    """Return a message as it is compared: equal ones, and only those, are written alike."""
    content = message.get("content")
    if isinstance(content, str) and len(message) == 2:
        return message["role"], content
    return message["role"], line_of(message)


class _Beginnings:
    """Finds how much of a text was seen before; of a list of messages, see `_ListBeginnings`."""

    def __init__(self, max_kept_chars: int) -> None:
        self._max_kept_chars = max_kept_chars
        self._groups: OrderedDict[Hashable, _Group] = OrderedDict()
        self._kept_chars = 0

    def _chars(self, part: Any) -> int:
        """Return about how much memory a part takes."""
        return len(part)

    def _is_long(self, part: Any) -> bool:
        """Return whether a part, as it is written, is worth a line."""
        return len(part) >= MIN_SHARED_CHARS

    def _beginnings(self, whole: Any, known: Iterable[Any]) -> Iterable[Any]:
        """Return those of `known` that `whole` starts with."""
        return filter(whole.startswith, known)

    def _longest_common(self, whole: Any, others: Sequence[Any], seen: int) -> int:
        """Return the length of the longest beginning that `whole` shares with others, or `seen`."""
        following = whole[seen : seen + 1]
        for other in reversed(others):  # the newest has often the most in common
            # The next character first: it rules out most, and copies nothing.
            if not following:
                break
            if other.startswith(following, seen) and other.startswith(whole[:seen]):
                seen = common_chars(whole, other, seen + 1)
                following = whole[seen : seen + 1]
        return seen

    def longest(
        self, start: Hashable, whole: Sequence[Any], *, is_new: bool
    ) -> tuple[int, str | None, int]:
        """Return how much has a name, that name, and how much was seen (no less).

        Args:
            start: what all have in common that it is compared with.
            whole: the text or the messages.
            is_new: whether it is remembered for those that follow.
        """
        group = self._groups.get(start) or _Group()
        known = max(self._beginnings(whole, group.shared), key=len, default=None)
        named, name = (0, None) if known is None else (len(known), group.shared[known])
        if not is_new:
            return named, name, named
        seen = self._longest_common(whole, group.recent, named)
        self._groups[start] = group
        self._groups.move_to_end(start)
        if seen < len(whole) or whole not in group.recent:
            self._remember(group, whole)
        if seen > named and not self._is_long(whole[named:seen]):
            seen = named
        return named, name, seen

    def _remember(self, group: _Group, whole: Sequence[Any]) -> None:
        group.recent.append(whole)
        added = self._chars(whole)
        if len(group.recent) > MAX_RECENT:
            added -= self._chars(group.recent.pop(0))
        group.chars += added
        self._kept_chars += added
        while self._kept_chars > self._max_kept_chars and len(self._groups) > 1:
            self._kept_chars -= self._groups.popitem(last=False)[1].chars

    def name(self, start: Hashable, beginning: Sequence[Any], name: str) -> None:
        """Remember the name of a beginning that was just written."""
        group = self._groups[start]
        group.shared[beginning] = name
        if len(group.shared) > MAX_RECENT:
            del group.shared[next(iter(group.shared))]


class _ListBeginnings(_Beginnings):
    """The same for lists of messages, each as `_comparable` returns it."""

    def _chars(self, part: Any) -> int:
        return sum(len(text) for _, text in part)

    def _is_long(self, part: Any) -> bool:
        lines = (
            text if isinstance(text, bytes) else line_of({"role": role, "content": text})
            for role, text in part
        )
        return sum(map(len, lines)) >= MIN_SHARED_CHARS

    def _beginnings(self, whole: Any, known: Iterable[Any]) -> Iterable[Any]:
        return [each for each in known if whole[: len(each)] == each]

    def _longest_common(self, whole: Any, others: Sequence[Any], seen: int) -> int:
        size = len(whole)
        for other in others:
            if seen < size and seen < len(other) and whole[seen] == other[seen]:
                while seen < size and whole[: seen + 1] == other[: seen + 1]:
                    seen += 1
        return seen


def common_chars(one: str, other: str, low: int = 0) -> int:
    """Return how many characters two texts start with in common.

    Args:
        low: so many are known to be equal.
    """
    high = min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if other.startswith(one[low:middle], low):
            low = middle
        else:
            high = middle - 1
    return low


class Sharing:
    """Shortens the documents of exchanges, and writes the shared lines that they need.

    Args:
        is_written: whether a shared line of this name is in the file.
    """

    def __init__(
        self, is_written: Callable[[bytes], bool], *, max_kept_chars: int = MAX_KEPT_CHARS
    ) -> None:
        self._is_written = is_written
        self._texts = _Beginnings(max_kept_chars)
        self._lists = _ListBeginnings(max_kept_chars)
        self._names: OrderedDict[bytes, str] = OrderedDict()
        """Name of each set of common fields that was seen, by how it is written."""
        self._lines: dict[bytes, bytes] = {}

    def pack(self, document: Mapping[str, Any]) -> tuple[Mapping[bytes, bytes], bytes]:
        """Return the shared lines, by name, that an exchange is the first to need, and its line.

        Args:
            document: an exchange as a JSON object; left as it is.

        Raises:
            TypeError: when a value has no form in JSON.
            ValueError: when a value contains itself.
        """
        short = dict(document)
        self._lines = {}
        messages = short.get("messages", ())
        if messages:
            self._pack_messages(short)
        fixed = messages[: len(messages) - len(short.get("messages", ()))]
        _leave_out(short)
        self._pack_common(short, is_after_fixed=all(each["role"] == "system" for each in fixed))
        if "reply" in short:
            short["reply"] = _ordered(short["reply"], _REPLY_ORDER)
        return self._lines, line_of(_ordered(short, _ORDER))

    def _share(self, fields: Mapping[str, Any]) -> str:
        """Return the name of a shared line, which is written if it is new."""
        content = line_of(fields)[1:-2]
        name = _name_of(content)
        if not self._is_written(name):
            self._lines[name] = b'%b%b",%b}\n' % (_SHARED, name, content)
        return name.decode()

    def _pack_messages(self, short: dict[str, Any]) -> None:
        messages = short.pop("messages")
        whole = tuple(map(_comparable, messages))
        named, name, seen = self._lists.longest(whole[0], whole, is_new=True)
        if seen > named:
            parts = [self._pack_message(each, is_new=False) for each in messages[named:seen]]
            name = self._share(_after(name, {"messages": parts}))
            self._lists.name(whole[0], whole[:seen], name)
        if name:
            short["after"] = name
        if messages[seen:]:
            short["messages"] = [self._pack_message(each, is_new=True) for each in messages[seen:]]

    def _pack_message(self, message: Mapping[str, Any], *, is_new: bool) -> Mapping[str, Any]:
        text = message.get("content")
        if not isinstance(text, str) or len(text) < MIN_SHARED_CHARS:
            return message
        start = text[:_START_CHARS]
        named, name, seen = self._texts.longest(start, text, is_new=is_new)
        if seen > named:
            name = self._share(_after(name, {"text": text[named:seen]}))
            self._texts.name(start, text[:seen], name)
        if not name:
            return message
        return {**message, "content": {"after": name, "text": text[seen:]}}

    def _pack_common(self, short: dict[str, Any], *, is_after_fixed: bool) -> None:
        """Leave out what the exchanges of its kind have in common, once that was seen before.

        Args:
            short: an exchange.
            is_after_fixed: whether the messages that its own continue are instructions only.
        """
        common = {name: short[name] for name in _COMMON if name in short}
        if is_after_fixed and "after" in short:
            common["after"] = short["after"]
        reply = short.get("reply", {})
        of_reply = {name: reply[name] for name in _COMMON_OF_REPLY if name in reply}
        if reply.get("usage") == _UNKNOWN_CACHED:
            of_reply["usage"] = reply["usage"]
        if of_reply:
            common["reply"] = of_reply
        content = line_of({"common": common})
        name = self._names.get(content)
        if name is None:
            name = self._names[content] = _name_of(content[1:-2]).decode()
            if len(self._names) > MAX_SEEN:
                self._names.popitem(last=False)
            if not self._is_written(name.encode()):
                return
        elif not self._is_written(name.encode()):
            self._share({"common": common})
        short["common"] = name
        for left_out in common.keys() - {"reply"}:
            del short[left_out]
        if of_reply:
            short["reply"] = {key: value for key, value in reply.items() if key not in of_reply}


def _after(name: str | None, fields: dict[str, Any]) -> dict[str, Any]:
    return {"after": name, **fields} if name else fields


def whole_number(value: Any) -> int:
    """Return a whole number, or 0 for any other value."""
    return value if type(value) is int else 0


def _leave_out(short: dict[str, Any]) -> None:
    """Leave out what follows from other fields; write what does not, be it a default."""
    for name, value in places_of(short["scope"]).items():
        if name in short and short[name] == value:
            del short[name]
    used = whole_number(short.get("input_tokens")) + whole_number(short.get("output_tokens"))
    if short.setdefault("charged_tokens", 0) == used:
        del short["charged_tokens"]
    if "reply" not in short:
        return
    reply = short["reply"] = dict(short["reply"])
    if reply.setdefault("latency_seconds", 0.0) == short.get("latency_seconds", 0.0):
        del reply["latency_seconds"]
    usage = {**dict.fromkeys(USED), **reply.pop("usage", {})}
    usage = {
        name: value
        for name, value in usage.items()
        if name not in USED or value != short.get(name, 0)
    }
    if usage:
        reply["usage"] = usage
