"""A user's states as drafts of a search, and drafts as states."""

import hashlib
import inspect
import math
import reprlib
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError
from pydantic_core import PydanticSerializationError

from lats.answers import MAX_REPLY_CHARS, ActionAnswer, Draft, Drafts, clean_text
from lats.problem import Problem
from lats.result import StateError
from lats.search_tree import SearchTree
from lats.similarity import text_key

__all__ = ["StateDrafts"]

StateT = TypeVar("StateT")

_PAYLOAD_KEY = "state"
_DIGEST_CHARS = 10


class StateDrafts(Generic[StateT]):
    """Turns a problem's states into drafts and drafts into states, for one search.

    A search compares replies by their words, case and punctuation left aside, and cuts
    long ones. Texts of states may differ in just that (`a+b` and `a-b`), so where a text
    would be taken for another one's, a digest of it is put behind it.

    Raises:
        TypeError: when states of the problem's type cannot be written as JSON.
    """

    def __init__(self, problem: Problem[StateT]) -> None:
        try:
            self._adapter: TypeAdapter[StateT] = TypeAdapter(problem.state_type)
            self._json: TypeAdapter[Any] = TypeAdapter(Any)
        except PydanticSchemaGenerationError as error:
            raise TypeError(
                f"states of type {problem.state_type!r} cannot be written as JSON; use a "
                "dataclass, a tuple, a pydantic model or a builtin type"
            ) from error
        kind = problem.state_type
        self._type = kind.__name__ if isinstance(kind, type) else repr(kind)
        self._problem = problem
        self._known: dict[str, str] = {}
        self._offered: dict[str, str] = {}
        self._nodes_noted = 0

    def draft(self, state: StateT, *, source: str) -> Draft:
        """Return the draft of a state, as its type validates it.

        Args:
            state: of the problem's type.
            source: what gave it and how, for errors: `propose gave`, say.

        Raises:
            TypeError: when it is no such state, does not survive being written as JSON, or
                its text or key is none.
            ValueError: when its text is blank.
        """
        try:
            state = self._adapter.validate_python(state)
            written = self._adapter.dump_json(state)
            if self._adapter.dump_json(self._adapter.validate_json(written)) != written:
                raise TypeError(
                    f"{source} {reprlib.repr(state)}, which JSON does not give back as it was"
                )
        except ValidationError as error:
            said = error.errors(include_url=False, include_context=False)[0]["msg"]
            raise TypeError(
                f"{source} {reprlib.repr(state)}, no state of {self._type}: {said}"
            ) from error
        except PydanticSerializationError as error:
            raise TypeError(
                f"{source} {reprlib.repr(state)}, which JSON cannot hold: {error}"
            ) from error
        text = written.decode() if self._problem.text is None else self._problem.text(state)
        if not isinstance(text, str):
            _refuse_awaitable(text, "text")
            raise TypeError(
                f"text of {reprlib.repr(state)} is a {type(text).__name__}; return a str"
            )
        reply = self._reply(text)
        if not reply:
            raise ValueError(
                f"text of {reprlib.repr(state)} is blank; return a text by which states differ"
            )
        payload = {_PAYLOAD_KEY: self._json.validate_json(written)}
        is_answer = self._problem.is_answer(state)
        _refuse_awaitable(is_answer, "is_answer")
        return Draft(reply=reply, payload=payload, is_step=not is_answer, key=self._key(state))

    def start(self) -> Draft:
        """Return the draft of the problem's start; a blank one without a start."""
        if self._problem.start is None:
            return Draft(reply="")
        start = self.draft(self._problem.start, source="start is")
        is_step, key = start.is_step, start.key
        return Draft(reply=start.reply, payload=start.payload, is_step=is_step, key=key)

    def start_state(self) -> StateT | None:
        """Return the problem's start as its type validates it; None without a start."""
        return None if self._problem.start is None else self.state(self.start())

    def state(self, draft: Draft) -> StateT:
        """Return the state of a draft.

        Raises:
            StateError: when the draft has none of this type.
        """
        candidate = f"candidate {draft.reply[:40]!r}"
        if _PAYLOAD_KEY not in draft.payload:
            raise StateError(
                f"{candidate} has no state: it was not saved by `solve`; resume one that was"
            )
        try:
            return self._adapter.validate_json(self._json.dump_json(draft.payload[_PAYLOAD_KEY]))
        except ValidationError as error:
            said = error.errors(include_url=False, include_context=False)[0]["msg"]
            raise StateError(f"{candidate} has a state of another type: {said}") from error

    def begin_round(self, tree: SearchTree, open_answers: Iterable[ActionAnswer] = ()) -> None:
        """Note the replies of the tree, and answers of its open round, before drafts are made.

        A draft depends on the tree and on the drafts before it in its round, so a restored
        search makes the same ones.
        """
        for node in islice(tree.candidates, self._nodes_noted, None):
            self._known.setdefault(text_key(node.draft.reply), node.draft.reply)
        self._nodes_noted = len(tree)
        self._offered = {
            text_key(draft.reply): draft.reply
            for answer in open_answers
            if isinstance(answer, Drafts)
            for draft in answer.drafts
        }

    def _key(self, state: StateT) -> str:
        if self._problem.key is None:
            return ""
        try:
            key = self._problem.key(state)
        except Exception as error:
            error.add_note(f"In key({reprlib.repr(state)}).")
            raise
        try:
            hash(key)
            _check_key(key)
            return self._json.dump_json(key).decode()
        except (PydanticSerializationError, TypeError) as error:
            raise TypeError(
                f"key of {reprlib.repr(state)} is {reprlib.repr(key)}; return a str, a number or a "
                "tuple of them, such as tuple(sorted(...)) of a set"
            ) from error

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


def _check_key(key: object) -> None:
    """Check that equal keys are written alike, and that there is one.

    Raises:
        TypeError: when they are not.
    """
    for each in key if isinstance(key, tuple) else (key,):
        is_nan = isinstance(each, float) and math.isnan(each)
        if key is None or is_nan or isinstance(each, AbstractSet):
            raise TypeError(f"{reprlib.repr(each)} cannot be a key")
        if isinstance(each, tuple):
            _check_key(each)


def _refuse_awaitable(said: object, function: str) -> None:
    if inspect.isawaitable(said):
        if inspect.iscoroutine(said):
            said.close()
        raise TypeError(f"{function} returned an awaitable; it is not awaited: return the value")


def _marked(reply: str, text: str) -> str:
    """Return a reply with a digest of the whole text behind it."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    return f"{reply[: MAX_REPLY_CHARS - _DIGEST_CHARS - 2].rstrip()} #{digest}"
