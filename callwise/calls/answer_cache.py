"""Answers that were read, by a digest of what they were read from.

Settings that are evaluated on one recording read the same answers again and again, which is a
third of a replay's work. A run reads each answer once, and keeps none.

Invariant: an answer is the same whether it is read or found here, since reading depends on the
text, the model, the finish reason and the prompt alone. Only frozen models are kept: callers are
given one object, and change nothing in it.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from pydantic import BaseModel

from callwise.calls.call import Message

__all__ = ["AnswerCache", "AnswerDigest", "answers_kept", "current_cache", "digest_of"]

DIGEST_BYTES = 16


class AnswerDigest(NamedTuple):
    """The input of one reading."""

    model: type[BaseModel]
    is_thoughts: bool
    digest: bytes


def digest_of(
    text: str,
    model: type[BaseModel],
    *,
    finish_reason: str | None,
    prompt: Sequence[Message],
    is_thoughts: bool,
) -> AnswerDigest:
    """Return the digest of what an answer is read from; see `structured.read_answer`."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    quotable = (message.content for message in prompt if message.role == "user")
    for part in (text, finish_reason or "", *quotable):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:%b" % (len(data), data))
    return AnswerDigest(model, is_thoughts, digest.digest())


class AnswerCache:
    """Answers that were read, the latest used.

    Args:
        max_entries: most that are kept, of some 5 KB each; at least 1.
    """

    def __init__(self, max_entries: int = 4096) -> None:
        self._max_entries = max_entries
        self._found: OrderedDict[AnswerDigest, Any] = OrderedDict()
        self._hits = 0
        self._misses = 0

    def get(self, digest: AnswerDigest) -> Any:
        """Return what was read, or None."""
        found = self._found.get(digest)
        if found is None:
            self._misses += 1
            return None
        self._found.move_to_end(digest)
        self._hits += 1
        return found

    def put(self, digest: AnswerDigest, answer: Any) -> None:
        """Keep what was read, where its model is frozen."""
        if not digest.model.model_config.get("frozen"):
            return
        self._found[digest] = answer
        if len(self._found) > self._max_entries:
            self._found.popitem(last=False)

    def statistics(self) -> dict[str, int]:
        """Return the number of answers that were found, and that were not."""
        return {"hits": self._hits, "misses": self._misses}


_CACHE: ContextVar[AnswerCache | None] = ContextVar("answer_cache", default=None)
"""The cache of this task's answers; None keeps none."""


def current_cache() -> AnswerCache | None:
    """Return where this task's answers are kept, or None."""
    return _CACHE.get()


@contextmanager
def answers_kept(cache: AnswerCache) -> Iterator[None]:
    """Keep the answers that this task, and those it starts, read."""
    token = _CACHE.set(cache)
    try:
        yield
    finally:
        _CACHE.reset(token)
