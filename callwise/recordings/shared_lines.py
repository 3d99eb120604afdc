"""Shared lines of a cassette, read: an exchange is put together as it was before it was shared.

See `cassette_sharing` for how they are written. An answer is played without its prompt, so texts
are only put together where prompts are read.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from callwise.recordings.cassette_format import check_types, parse_line
from callwise.recordings.cassette_sharing import USED, places_of, whole_number

__all__ = ["Shared", "SharedLines", "restore", "whole_prompt"]

Shared = Callable[[str], Mapping[str, Any]]
"""Gives the fields of a shared line by its name; a `ValueError` when there is none."""

MAX_COMMON = 4_096
"""Most sets of common fields that are kept in memory as they were parsed."""

MAX_PROMPT_CHARS = 256 << 20
"""Longest prompt that is put together: a few lines that refer to each other can mean far more."""


class SharedLines:
    """Shared lines of a file, by name. Texts are read again each time, common fields are kept."""

    def __init__(self, read: Callable[[int, int], bytes]) -> None:
        self._read = read
        self.damaged: dict[bytes, str] = {}
        """Problem of each line that is not as it was written, by the name that it has."""
        self._places: dict[bytes, tuple[int, int]] = {}
        self._common: dict[str, dict[str, Any]] = {}

    def __contains__(self, name: bytes) -> bool:
        """Return whether there is a line of this name."""
        return name in self._places

    def add(self, name: bytes, offset: int, length: int) -> None:
        """Add a line of the file."""
        self._places[name] = offset, length

    def fields(self, name: str) -> dict[str, Any]:
        """Return the fields of a line.

        Raises:
            ValueError: when it is not in the file, or damaged.
        """
        written = str(name).encode("utf-8", "backslashreplace")
        place = self._places.get(written)
        if place is None:
            problem = self.damaged.get(written, "which is not in the file")
            raise ValueError(f"it refers to the shared line {name!r:.40}, {problem}")
        return parse_line(self._read(place[1], place[0]))

    def common(self, name: str) -> dict[str, Any]:
        """Return the fields of a line of common fields, their types checked. Do not change them.

        Raises:
            ValueError: when it is damaged or not there, or a field is unknown or of another type.
        """
        found = self._common.get(name)
        if found is None:
            if len(self._common) >= MAX_COMMON:
                self._common.clear()
            found = self.fields(name)
            if isinstance(found.get("common"), dict):
                check_types(found["common"])
            self._common[name] = found
        return found


def _put_back(document: dict[str, Any]) -> dict[str, Any]:
    """Return an exchange with what `_leave_out` took from it."""
    scope = document.get("scope")
    if isinstance(scope, str):
        document = {**places_of(scope), **document}
    used = whole_number(document.get("input_tokens")) + whole_number(document.get("output_tokens"))
    if document.setdefault("charged_tokens", used) == 0:
        del document["charged_tokens"]
    reply = document.get("reply")
    if not isinstance(reply, dict):
        return document
    if reply.setdefault("latency_seconds", document.get("latency_seconds", 0.0)) == 0:
        del reply["latency_seconds"]
    usage = reply.get("usage", {})
    if isinstance(usage, dict):
        whole = {**{name: document.get(name, 0) for name in USED}, **usage}
        reply["usage"] = {name: value for name, value in whole.items() if value is not None}
        if not reply["usage"]:
            del reply["usage"]
    return document


def restore(document: dict[str, Any], shared: Shared) -> dict[str, Any]:
    """Return an exchange with all its fields but its prompt, which `whole_prompt` puts together.

    Args:
        document: what `Sharing.pack` made its line of; changed.

    Raises:
        ValueError: when it refers to a line that is not there, or is of another kind.
    """
    name = document.pop("common", None)
    if name is not None:
        common = shared(name).get("common")
        if not isinstance(common, dict):
            raise ValueError(f"its common fields should be in the line {name!r:.40}")
        of_reply, reply = common.get("reply"), document.get("reply")
        document = {**common, **document}
        if isinstance(of_reply, dict):
            document["reply"] = {**of_reply, **reply} if isinstance(reply, dict) else reply
    return _put_back(document)


class _Prompt:
    """Puts one prompt together, up to a size."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._left = MAX_PROMPT_CHARS

    def parts(self, name: Any, kind: str) -> list[Any]:
        """Return what the shared lines from the first to the named one have of a kind."""
        found: list[Any] = []
        while name is not None:
            fields = self._shared(name)
            part = fields.get(kind)
            if not isinstance(part, str if kind == "text" else list):
                raise ValueError(f"its {kind} should be in the line {name!r:.40}")  # noqa: TRY004
            self.count(part)
            found.append(part)
            name = fields.get("after")
        return found[::-1]

    def count(self, part: Sequence[Any]) -> None:
        self._left -= len(part) + 1
        if self._left < 0:
            raise ValueError(f"its prompt is longer than {MAX_PROMPT_CHARS:,} characters")

    def message(self, message: Any) -> Any:
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, dict):
            return message
        own = content.get("text", "")
        if not isinstance(own, str):
            raise ValueError("the text of a message must be a text")  # noqa: TRY004 - one error
        text = "".join([*self.parts(content.get("after"), "text"), own])
        return {**message, "content": text}


def whole_prompt(document: dict[str, Any], shared: Shared) -> dict[str, Any]:
    """Return an exchange with the messages of its prompt put together.

    Args:
        document: as `restore` returns it; changed.

    Raises:
        ValueError: when it refers to a line that is not there, or is longer than any prompt.
    """
    prompt = _Prompt(shared)
    beginning = prompt.parts(document.pop("after", None), "messages")
    own = document.get("messages", [])
    if isinstance(own, list) and (beginning or own):
        messages = [each for part in (*beginning, own) for each in part]
        document["messages"] = [prompt.message(each) for each in messages]
    return document
