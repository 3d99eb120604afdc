"""One behaviour of a provider, what a turn must make of it, and what behaviours are made of."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from tests.providers.server import Asked, Script, Sent

__all__ = [
    "Behaviour",
    "Expected",
    "Odd",
    "When",
    "asked_no_more_tokens",
    "content",
    "every",
    "is_judge",
    "message",
    "odd_document",
    "odd_text",
    "once",
    "read",
    "reply",
    "scripted",
    "scripted_for_each_server",
    "stops",
    "survives",
    "wants_candidates",
]

CALLS = 8
"""Calls of a turn of `balanced` where nothing goes wrong."""

When = Callable[[Asked], bool]
Odd = Callable[[Asked, dict[str, Any]], Sent | None]


@dataclass(frozen=True, slots=True)
class Expected:
    """Expected end of a turn.

    Args:
        ends: in a reply of the model, in a fallback line, or in an error that stops the
            run and can be mended; `either` is a reply or the error.
        error: class of the error.
        says: patterns that the error's message must match, whatever their case.
        calls: most calls that are asked; None is the plan's worst case.
        extra_requests: most requests beyond one for each call that reached the endpoint.
        requests: most requests in all, where the number of calls does not bound it.
        repairs: most repairs.
        min_repairs: least repairs.
        min_unreadable: least answers that must be shown as unreadable, where that is a
            counted quantity.
        degraded: patterns that the turn's degradations must match; empty means that the
            turn has none.
        may_degrade: whether degradations are allowed that no pattern names.
        notes: pattern that a ledger row's notes must match, where rows have notes.
        notices: patterns of which each must match exactly one of the run's notices.
        is_same: whether the reply is the one of a turn without oddities.
        never: texts that must not be in the reply.
        unknown_usage: requests whose tokens must be unknown; None does not ask.
        unknown_usd: requests whose cost must be unknown; None does not ask.
        is_exact: whether requests are exactly calls plus `extra_requests`.
        min_answered: least requests that got an answer.
    """

    ends: Literal["reply", "fallback", "error", "either"] = "reply"
    error: str = ""
    says: tuple[str, ...] = ()
    calls: int | None = CALLS
    extra_requests: int = 0
    requests: int | None = None
    repairs: int = 0
    min_repairs: int = 0
    min_unreadable: int = 0
    degraded: tuple[str, ...] = ()
    may_degrade: bool = False
    notes: str = ""
    notices: tuple[str, ...] = ()
    is_same: bool = False
    never: tuple[str, ...] = ()
    unknown_usage: int | None = None
    unknown_usd: int | None = None
    is_exact: bool = False
    min_answered: int = 0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The behaviour of one provider.

    Args:
        name: unique.
        area: the part of the product: `requests`, `answers`, `settings`, `prompts`
            or `reporting`.
        make: makes the script; None answers well.
        expected: how a turn must end.
        source: the provider that behaves so.
        knobs: `knob=value` of the run; `{main}` is the server's base URL.
        earlier_turns: turns with long messages that go well before the behaviour begins.
        has_judge_model: the judge has another model, at the same endpoint.
        path: what the base URL is set to, after the origin; None is the right one.
        begins_down: nothing listens until the run has failed once.
        is_extra: not a line of the tables, but of the same kinds.
        shows: whether the script meddles with at least one request; else it must not need to.
        counts_tokens: whether the ledger's tokens must be those of the server's log.
    """

    name: str
    area: str
    make: Callable[[], Script] | None
    expected: Expected
    source: str
    knobs: tuple[str, ...] = ()
    earlier_turns: int = 0
    has_judge_model: bool = False
    path: str | None = None
    begins_down: bool = False
    is_extra: bool = False
    shows: bool = True
    counts_tokens: bool = True


def scripted(odd: Odd, when: When | None = None) -> Callable[[], Script]:
    """Return a factory of a script that does one odd thing, always or when a condition holds."""

    def make() -> Script:
        def script(asked: Asked, good: dict[str, Any]) -> Sent | None:
            return odd(asked, good) if when is None or when(asked) else None

        return script

    return make


def scripted_for_each_server(odd: Odd, make_when: Callable[[], When]) -> Callable[[], Script]:
    """Return the same with a condition that counts, made for each server."""

    def make() -> Script:
        return scripted(odd, make_when())()

    return make


def reply(**changes: Any) -> Expected:
    """Return: ends in the reply of an undisturbed turn, every call answered and none more."""
    return replace(Expected(is_same=True, min_answered=CALLS), **changes)


def survives(**changes: Any) -> Expected:
    """Return: ends in a reply, within the plan's worst case; nodes may use their rules."""
    return replace(Expected(calls=None, may_degrade=True, requests=24), **changes)


def stops(error: str, *says: str, **changes: Any) -> Expected:
    """Return: stops the run with an error that says what to mend, after one request."""
    return replace(Expected(ends="error", error=error, says=says, requests=1), **changes)


def message(good: dict[str, Any]) -> dict[str, Any]:
    """Return the message of a response, to be changed in place."""
    found: dict[str, Any] = good["choices"][0]["message"]
    return found


def content(good: dict[str, Any]) -> str:
    """Return the text of a response."""
    return str(message(good)["content"])


def every(_asked: Asked) -> bool:
    """Return True: every request."""
    return True


def is_judge(asked: Asked) -> bool:
    """Return whether a request asks for scores."""
    return asked.is_judge


def wants_candidates(asked: Asked) -> bool:
    """Return whether a request asks for candidates."""
    return asked.wants_candidates


def odd_text(change: Callable[[str], str], finish_reason: str | None = None) -> Odd:
    """Return what changes the text of an answer."""

    def odd(_asked: Asked, good: dict[str, Any]) -> Sent:
        message(good)["content"] = change(content(good))
        if finish_reason is not None:
            good["choices"][0]["finish_reason"] = finish_reason
        return Sent(good)

    return odd


def odd_document(change: Callable[[Any, Asked], Any]) -> Odd:
    """Return what changes the JSON document of an answer; None leaves the answer good."""

    def odd(asked: Asked, good: dict[str, Any]) -> Sent | None:
        document = json.loads(content(good))
        before = json.dumps(document)
        changed = change(document, asked)
        if json.dumps(changed) == before:
            return None
        message(good)["content"] = json.dumps(changed, ensure_ascii=False)
        return Sent(good)

    return odd


def read(
    name: str, odd: Odd, when: When = every, source: str = "several", **more: Any
) -> Behaviour:
    """Return a behaviour whose answers are to be read without another call."""
    expected = more.pop("expected", reply())
    return Behaviour(name, "answers", scripted(odd, when), expected, source, **more)


def once(name: str, document: Any, source: str, **more: Any) -> Behaviour:
    """Return a behaviour whose first response is none; one more request mends it."""
    expected = more.pop("expected", reply(extra_requests=1, is_exact=True))
    sent = document if isinstance(document, Sent) else Sent(document, is_usable=False)
    script = scripted(lambda _asked, _good: sent, lambda asked: asked.number == 1)
    more.setdefault("counts_tokens", False)
    return Behaviour(name, "requests", script, expected, source, **more)


def asked_no_more_tokens() -> When:
    """Return a condition: a question is asked with no more tokens than the first time."""
    asked_with: dict[str, int] = {}

    def is_short(asked: Asked) -> bool:
        return asked.max_tokens <= asked_with.setdefault(asked.question, asked.max_tokens)

    return is_short
