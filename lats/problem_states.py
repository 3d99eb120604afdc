"""A user's own states as drafts of a search, and back."""

import hashlib
import reprlib
from collections.abc import Callable
from itertools import islice
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError
from pydantic_core import PydanticSerializationError

from lats.candidate import Forest
from lats.draft import MAX_REPLY_CHARS, Draft, clean_text
from lats.policy import StateError
from lats.similarity import text_key

__all__ = ["StateDrafts"]

StateT = TypeVar("StateT")

_PAYLOAD_KEY = "state"
_DIGEST_CHARS = 10


class StateDrafts(Generic[StateT]):
    """Turns states into drafts and drafts into states, for one search.

    A search tells replies apart by their words, case and punctuation left aside, and cuts
    long ones. Texts of states may differ in just that (`a+b` and `a-b`), so where a text
    would be taken for another one's, a digest of it is put behind it.

    Args:
        state_type: the states' type.
        text: what tells states apart; None for their JSON.
        is_answer: whether a state may be the answer.

    Raises:
        TypeError: when states of this type cannot be written as JSON.
    """

    def __init__(
        self,
        state_type: Any,
        text: Callable[[StateT], str] | None,
        is_answer: Callable[[StateT], bool],
    ) -> None:
        try:
            self._adapter: TypeAdapter[StateT] = TypeAdapter(state_type)
            self._json: TypeAdapter[Any] = TypeAdapter(Any)
        except PydanticSchemaGenerationError as error:
            raise TypeError(
                f"states of type {state_type!r} cannot be written as JSON; use a dataclass, a "
                "tuple, a pydantic model or a builtin type"
            ) from error
        self._text = text
        self._is_answer = is_answer
        self._known: dict[str, str] = {}
        self._offered: dict[str, str] = {}
        self._nodes_noted = 0

    def draft(self, state: StateT, *, source: str) -> Draft:
        """Return the draft of a state.

        Args:
            state: anything that its type takes; what the type makes of it is kept.
            source: who gave it, for errors.

        Raises:
            TypeError: when it is no such state, does not survive being written as JSON, or
                its text is none.
            ValueError: when its text is blank.
        """
        try:
            state = self._adapter.validate_python(state)
            written = self._adapter.dump_json(state)
            if self._adapter.dump_json(self._adapter.validate_json(written)) != written:
                raise TypeError(
                    f"{source} gave {reprlib.repr(state)}, which JSON does not give back as it was"
                )
        except ValidationError as error:
            said = error.errors(include_url=False, include_context=False)[0]["msg"]
            raise TypeError(f"{source} gave {reprlib.repr(state)}, no state: {said}") from error
        except PydanticSerializationError as error:
            raise TypeError(
                f"{source} gave {reprlib.repr(state)}, which JSON cannot hold: {error}"
            ) from error
        text = written.decode() if self._text is None else self._text(state)
        if not isinstance(text, str):
            raise TypeError(f"text of {reprlib.repr(state)} is a {type(text).__name__}")
        reply = self._reply(text)
        if not reply:
            raise ValueError(f"text of {reprlib.repr(state)} is blank")
        payload = {_PAYLOAD_KEY: self._json.validate_json(written)}
        return Draft(reply=reply, payload=payload, is_step=not self._is_answer(state))

    def state(self, draft: Draft) -> StateT:
        """Return the state of a draft.

        Raises:
            StateError: when the draft holds none of this type.
        """
        where = f"candidate {draft.reply[:40]!r}"
        if _PAYLOAD_KEY not in draft.payload:
            raise StateError(f"{where} holds no state: it was not saved by solving a problem")
        try:
            return self._adapter.validate_json(self._json.dump_json(draft.payload[_PAYLOAD_KEY]))
        except ValidationError as error:
            said = error.errors(include_url=False, include_context=False)[0]["msg"]
            raise StateError(f"{where} holds a state of another type: {said}") from error

    def begin_round(self, tree: Forest) -> None:
        """Take note of what is in the tree before the drafts of a round are made.

        What a draft becomes depends on the tree and on the drafts before it in its round, so
        a restored search makes the same ones.
        """
        for node in islice(tree.candidates, self._nodes_noted, None):
            self._known.setdefault(text_key(node.draft.reply), node.draft.reply)
        self._nodes_noted = len(tree)
        self._offered = {}

    def _reply(self, text: str) -> str:
        reply = clean_text(text, MAX_REPLY_CHARS)
        if not reply:
            return ""
        if reply != text.strip():
            reply = _marked(reply, text)
        key = text_key(reply)
        if self._known.get(key, self._offered.setdefault(key, reply)) != reply:
            return _marked(reply, text)
        return reply


def _marked(reply: str, text: str) -> str:
    """Return a reply with a digest of the whole text behind it."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    return f"{reply[: MAX_REPLY_CHARS - _DIGEST_CHARS - 2].rstrip()} #{digest}"
