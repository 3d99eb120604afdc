"""Answers that were read are found again, and are those that reading gives."""

import pytest
from pydantic import BaseModel, ConfigDict

from callwise.calls import Message
from callwise.calls.answer_cache import AnswerCache, answers_kept
from callwise.calls.errors import InvalidAnswer
from callwise.calls.structured import read_answer


class Frozen(BaseModel):
    """A form that nothing changes."""

    model_config = ConfigDict(frozen=True)
    score: float = 0.0


class Open(BaseModel):
    """A form that its caller may change."""

    score: float = 0.0


TEXT = 'Well: {"score": "7 of 10"}'


def test_an_answer_is_read_once() -> None:
    """The same input gives the same object, with its notes; out of the block it is read again."""
    plain = read_answer(TEXT, Frozen)
    cache = AnswerCache()
    with answers_kept(cache):
        first, again = (read_answer(TEXT, Frozen) for _ in range(2))
    assert first == plain == again
    assert first is again
    assert cache.statistics() == {"hits": 1, "misses": 1}
    assert read_answer(TEXT, Frozen) is not first


def test_whatever_reading_depends_on_is_in_the_digest() -> None:
    """Model, text, finish reason, prompt, and whether all of it is thoughts."""
    quoted = (Message("user", '{"chat": ["{\\"score\\": 1}"]}'),)
    cache = AnswerCache()
    with answers_kept(cache):
        assert read_answer('{"score": 1}', Frozen).parsed.score == 1
        with pytest.raises(InvalidAnswer):
            read_answer('{"score": 1}', Frozen, prompt=quoted)
        read_answer('{"score": 1}', Frozen, finish_reason="stop")
        read_answer('{"score": 1}', Frozen, is_thoughts=True)
        read_answer('{"score": 1}', Frozen, prompt=(Message("user", "a"), Message("user", "b")))
        read_answer('{"score": 1}', Frozen, prompt=(Message("user", "ab"), Message("user", "")))
    assert cache.statistics()["hits"] == 0


def test_what_may_be_changed_or_is_none_is_not_kept() -> None:
    """A form that is not frozen belongs to its caller; an answer of no use is read each time."""
    cache = AnswerCache(max_entries=1)
    with answers_kept(cache):
        assert read_answer(TEXT, Open).parsed is not read_answer(TEXT, Open).parsed
        for _ in range(2):
            with pytest.raises(InvalidAnswer):
                read_answer("no", Frozen)
        read_answer(TEXT, Frozen)
        read_answer('{"score": 2}', Frozen)
        read_answer(TEXT, Frozen)
    assert cache.statistics()["hits"] == 0
