"""One turn as the spans of a trace, by OpenTelemetry's conventions for generative AI.

    invoke_agent lin                     the turn
      node detection                     a node that asked, and a search inside of one
        chat gpt-5-mini                  a call, with its outcome; no attempt has its own span

The names of attributes are those of `opentelemetry-semantic-conventions` 0.66b2; what it has no
name for begins with `callwise.`. All figures are those of the ledger's row. A call that no answer
was bought for (cached, coalesced, refused) has no tokens, as in its row.

Ids follow from the run, the conversation and the turn, and in the turn from where and what was
asked: a replay of the turn has the same ids, at any concurrency. Times are the only thing that
differs. They are measured by the budgeter's clock; where time is virtual, or calls of the turn
were replayed, they are those of the turn's critical path, and `callwise.time` is `virtual` or
`recorded` in place of `measured`.

Texts of users and models are left out unless they are asked for: also the text of an error, which
may quote an answer.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from callwise.budget.ledger_row import LedgerRow
from callwise.budget.usage import Usage
from callwise.calls.call import Outcome, Role, Sampling
from callwise.calls.delivery import DIRECT
from callwise.report.traces.call_texts import CallTexts

__all__ = [
    "CallNote",
    "LabelValue",
    "Labels",
    "SpanKind",
    "TraceSpan",
    "TurnNote",
    "spans_of",
    "trace_id_of",
]

LabelValue = str | bool | int | float | tuple[str, ...]
"""Value of an attribute."""

Labels = tuple[tuple[str, LabelValue], ...]
"""Names and values of attributes."""

Events = tuple[tuple[str, int, Labels], ...]
"""Name, time in nanoseconds and attributes of each event."""

NANOSECONDS = 10**9


class CallNote(NamedTuple):
    """One ended call, as its trace needs it.

    Args:
        row: its row of the ledger.
        started: when it was asked, by the budgeter's clock, in seconds.
        ended: when its row was written.
        path_seconds: where it started on its turn's critical path.
        sampling: what was asked of the answer.
        is_json: whether a form was asked for.
        finish_reason: reason of the answer's end, as the model gave it; empty for none.
        texts: its prompt and its answer; None leaves them out.
    """

    row: LedgerRow
    started: float
    ended: float
    path_seconds: float
    sampling: Sampling
    is_json: bool = False
    finish_reason: str = ""
    texts: CallTexts | None = None


class TurnNote(NamedTuple):
    """One turn, or one call outside of turns, as its trace needs it.

    Args:
        trace_id: 16 bytes, see `trace_id_of`.
        path: path of the turn's scope; that of a call's scope outside of one.
        conversation: its conversation's id; None outside of one. Untrusted, as all names.
        turn: its number or name; None outside of a turn.
        agent: name of the agent; empty where it is not known.
        calls: its calls, in the order in which they ended.
        epoch: seconds to add to the clock's for seconds since 1970.
        ended: when it ended, by the clock.
        path_seconds: length of its critical path.
        is_virtual: whether the clock's time is virtual and does not pass, so that calls are placed
            by their path.
        is_simulated_time: whether it passes, and is that of a loop in virtual time.
    """

    trace_id: bytes
    path: str
    conversation: str | None
    turn: str | None
    agent: str
    calls: Sequence[CallNote]
    epoch: float
    ended: float
    path_seconds: float
    is_virtual: bool
    is_simulated_time: bool = False


class SpanKind:
    """Everything that many spans have in common.

    Equal only to itself, so that it is found quickly in a cache.

    Args:
        name: the span's name.
        is_call: whether it is a request to a model, as a client.
        labels: attributes with few different values.
        error: type of its error; empty without one.
    """

    __slots__ = ("error", "is_call", "labels", "name")

    def __init__(
        self, name: str, labels: Labels = (), *, is_call: bool = False, error: str = ""
    ) -> None:
        self.name, self.labels, self.is_call, self.error = name, labels, is_call, error


class TraceSpan(NamedTuple):
    """One span, before it is encoded.

    Args:
        parent_id: 8 bytes; empty for the root.
        common: attributes of all spans of the trace.
        figures: attributes that neither the trace nor its kind has.
        message: text of its error, where texts are asked for.
        events: name, time and attributes of each.
    """

    kind: SpanKind
    span_id: bytes
    parent_id: bytes
    start_nanoseconds: int
    end_nanoseconds: int
    common: Labels
    figures: Sequence[tuple[str, LabelValue]] = ()
    message: str = ""
    events: Events = ()


def trace_id_of(*names: str | None) -> bytes:
    """Return a trace's id by the names of what it is of, from the outside in."""
    return _digest(b"", *names, size=16)


def _digest(start: bytes, *names: str | None, size: int) -> bytes:
    text = ascii(names).encode()  # the same for every version of Unicode
    return hashlib.blake2b(start + text, digest_size=size).digest()


def spans_of(note: TurnNote) -> Iterator[TraceSpan]:
    """Yield the spans of a turn: its calls, the scopes in which they were asked, itself last.

    Outside of turns there are the calls alone.
    """
    is_replayed = any(each.row.outcome is Outcome.REPLAYED for each in note.calls)
    is_by_path = note.is_virtual or is_replayed
    time = "recorded" if is_replayed and not note.is_virtual else "measured"
    if note.is_virtual or (note.is_simulated_time and not is_replayed):
        time = "virtual"
    # Whole nanoseconds are added to the day's time: as one number it is known to 0.2 us.
    epoch = round(note.epoch * NANOSECONDS)
    start = epoch + _nanoseconds(min((each.started for each in note.calls), default=note.ended))
    end = epoch + _nanoseconds(note.ended)
    if is_by_path:
        end = start + _nanoseconds(note.path_seconds)
    root = b"" if note.turn is None else _digest(note.trace_id, "turn", size=8)
    common: Labels = (("callwise.time", time),)
    if note.conversation is not None:
        names = ("gen_ai.conversation.id", "session.id")
        common = (*common, *((name, note.conversation) for name in names))
    scopes = _Scopes(note, root)
    for call in note.calls:
        row = call.row
        if is_by_path:
            first = start + _nanoseconds(call.path_seconds)
            last = first + _nanoseconds(row.path_seconds)
        else:
            first, last = epoch + _nanoseconds(call.started), epoch + _nanoseconds(call.ended)
        end = max(end, last)
        scope = scopes.of(row.scope, first, last)
        yield _call_span(call, (scope.call_id(row.key), scope.span_id), first, last, common)
    yield from scopes.spans(common)
    if root:
        agent = (("gen_ai.agent.name", note.agent),) if note.agent else ()
        labels = (("gen_ai.operation.name", "invoke_agent"), *agent)
        kind = SpanKind(f"invoke_agent {note.agent}".strip(), labels)
        figures = (("callwise.turn", note.turn or ""), ("callwise.asked", len(note.calls)))
        yield TraceSpan(kind, root, b"", start, end, common, figures)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * NANOSECONDS)


class _Scope:
    """One scope of a turn, with the calls that were asked in itself."""

    __slots__ = ("_seen", "_start", "first", "last", "span_id")

    def __init__(self, span_id: bytes, trace_id: bytes, first: int, last: int) -> None:
        self.span_id, self.first, self.last = span_id, first, last
        self._start = int.from_bytes(span_id) ^ int.from_bytes(trace_id[:8])
        self._seen: dict[str, int] = {}

    def call_id(self, key: str) -> bytes:
        """Return the id of the next call with this key, which is a digest: no further one is made.

        Equal calls of one scope can change places, so they are numbered.
        """
        number = self._seen.get(key, 0)
        self._seen[key] = number + 1
        found = int(key[:16], 16) ^ self._start
        if number:
            found = (found + number * _ODD) % 2**64
        return found.to_bytes(8)


_ODD = 0x9E3779B97F4A7C15
"""Fibonacci hashing's multiplier, 2**64 by the golden ratio: no multiples of it are close."""


class _Scopes:
    """The scopes below a turn in which its calls were asked, by their paths."""

    def __init__(self, turn: TurnNote, root: bytes) -> None:
        self._path, self._trace_id, self._root = turn.path, turn.trace_id, root
        self._found: dict[str, _Scope] = {}

    def of(self, path: str, first: int, last: int) -> _Scope:
        """Return the scope of a call, and note the call's times."""
        scope = self._found.get(path)
        if scope is None:
            scope = self._found[path] = _Scope(self._id(path), self._trace_id, first, last)
        elif first < scope.first or last > scope.last:
            scope.first, scope.last = min(first, scope.first), max(last, scope.last)
        return scope

    def _id(self, path: str) -> bytes:
        if path.startswith(self._path + "/"):
            return _digest(self._trace_id, path, size=8)
        return self._root

    def spans(self, common: Labels) -> Iterator[TraceSpan]:
        """Yield a span for each scope, as long as the calls in it and below it."""
        whole: dict[str, tuple[SpanKind, bytes, bytes, int, int]] = {}
        for asked_in, scope in self._found.items():
            if not asked_in.startswith(self._path + "/"):
                continue
            parent_id, first, last = self._root, scope.first, scope.last
            for inner, kind in _scopes(asked_in[len(self._path) :]):
                path = self._path + inner
                known = whole.get(path)
                if known is None:
                    span_id = scope.span_id if path == asked_in else self._id(path)
                    whole[path] = (kind, span_id, parent_id, first, last)
                else:
                    _, span_id, _, start, end = known
                    whole[path] = (kind, span_id, parent_id, min(start, first), max(end, last))
                parent_id = span_id
        for kind, span_id, parent_id, first, last in whole.values():
            yield TraceSpan(kind, span_id, parent_id, first, last, common)


_INNER = re.compile(r"/(?=(?:node|search)(?::|#|/|$))")
"""Start of a scope in a path below a turn. A name may have slashes in it."""


@lru_cache(maxsize=1024)
def _scopes(path: str) -> tuple[tuple[str, SpanKind], ...]:
    """Return path and kind of each scope from a turn, exclusive, down to a path, inclusive.

    Args:
        path: from the turn on.
    """
    found, whole = [], ""
    for name in _INNER.split(path)[1:]:
        whole = f"{whole}/{name}"
        level, _, label = name.partition(":")
        labels = ((f"callwise.{level}", label),) if label else ()
        found.append((whole, SpanKind(f"{level} {label}".strip(), labels)))
    return tuple(found)


def _call_span(
    call: CallNote, ids: tuple[bytes, bytes], first: int, last: int, common: Labels
) -> TraceSpan:
    """Return a call's span.

    Args:
        ids: its own, and that of its parent.
    """
    row, sampling = call.row, call.sampling
    usage, delivery = row.usage, row.delivery
    traits = (
        (row.node, row.role, row.purpose, row.outcome, row.error_name if row.error else ""),
        (row.endpoint, row.model, delivery.endpoint, delivery.model, call.finish_reason),
        (row.is_simulated, row.is_speculative, row.is_unreadable, call.is_json),
        (sampling.temperature, sampling.top_p, sampling.n),
    )
    kind = _call_kind(*traits)
    figures: list[tuple[str, LabelValue]] = [("callwise.round", row.end_round)]
    if usage.requests:
        figures += _spent(usage, is_embedding=row.role == Role.EMBED)
    if sampling.max_tokens is not None:
        figures.append(("gen_ai.request.max_tokens", sampling.max_tokens))
    if sampling.seed is not None:
        figures.append(("gen_ai.request.seed", sampling.seed))
    if row.sample or row.repair:
        figures += [("callwise.sample", row.sample), ("callwise.repair", row.repair)]
    if delivery is not DIRECT:
        figures += _flat("callwise.delivery", delivery.to_json())
    if row.choice is not None:
        figures += _flat("callwise.choice", row.choice.to_json())
    message = ""
    if call.texts is not None:
        message = row.error or ""
        figures += call.texts.attributes(call.finish_reason)
        figures += [("callwise.notes", row.notes)] if row.notes else []
    events: Events = ()
    if usage.queue_microseconds or usage.attempts > 1:
        events = _waits(usage, first, last)
    return TraceSpan(kind, *ids, first, last, common, figures, message, events)


def _spent(usage: Usage, *, is_embedding: bool) -> list[tuple[str, LabelValue]]:
    """Return what a call that was bought has used, as far as it is known."""
    found: list[tuple[str, LabelValue]] = [("callwise.requests", usage.requests)]
    if usage.tokens and not usage.unknown_usage:
        found.append(("gen_ai.usage.input_tokens", usage.input_tokens))
        if not is_embedding:
            found.append(("gen_ai.usage.output_tokens", usage.output_tokens))
        if usage.cached_tokens:
            found.append(("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens))
    if not usage.unknown_usd:
        found.append(("callwise.usd", usage.usd))
    return found


def _flat(prefix: str, document: Mapping[str, Any]) -> list[tuple[str, LabelValue]]:
    """Return the plain values of a JSON object; what is in a list or an object as JSON."""
    found: list[tuple[str, LabelValue]] = []
    for name, value in document.items():
        is_plain = isinstance(value, str | bool | int | float)
        text = value if is_plain else json.dumps(value, ensure_ascii=False, default=str)
        found.append((f"{prefix}.{name}", text))
    return found


def _waits(usage: Usage, first: int, last: int) -> Events:
    """Return the waits of a call as events.

    The row has their number and their sum. A queue is waited in first, so its event is at the
    call's start; the moments of the attempts are not known, so theirs is at its end.
    """
    events: list[tuple[str, int, Labels]] = []
    if usage.queue_microseconds:
        waited = (("callwise.queue_seconds", usage.queue_seconds),)
        events.append(("callwise.queued", first, waited))
    if usage.attempts > 1:
        retried: Labels = (
            ("callwise.attempts", usage.attempts),
            ("callwise.retry_seconds", usage.retry_seconds),
        )
        events.append(("callwise.retried", last, retried))
    return tuple(events)


@lru_cache(maxsize=4096)
def _call_kind(
    asked: tuple[str | None, Role, str, Outcome, str],
    served: tuple[str, str, str, str, str],
    marks: tuple[bool, bool, bool, bool],
    sampling: tuple[float | None, float | None, int],
) -> SpanKind:
    """Return what the spans of calls have in common that differ in their figures alone."""
    node, role, purpose, outcome, error = asked
    endpoint, model, served_by, served_model, finish_reason = served
    is_simulated, is_speculative, is_unreadable, is_json = marks
    temperature, top_p, count = sampling
    is_embedding = role == Role.EMBED
    is_answered = outcome not in {Outcome.REFUSED, Outcome.FAILED, Outcome.CANCELLED}
    found: list[tuple[str, LabelValue | None]] = [
        ("gen_ai.operation.name", "embeddings" if is_embedding else "chat"),
        ("gen_ai.provider.name", provider_of(served_by or endpoint, is_simulated=is_simulated)),
        ("gen_ai.request.model", model),
        ("gen_ai.response.model", (served_model or model) if is_answered else None),
        ("gen_ai.response.finish_reasons", (finish_reason,) if finish_reason else None),
        ("gen_ai.request.temperature", None if temperature is None else float(temperature)),
        ("gen_ai.request.top_p", None if top_p is None else float(top_p)),
        ("gen_ai.request.choice.count", count if count > 1 else None),
        ("gen_ai.output.type", None if is_embedding else "json" if is_json else "text"),
        ("error.type", error or None),
        ("callwise.outcome", str(outcome)),
        ("callwise.node", node),
        ("callwise.role", str(role)),
        ("callwise.purpose", str(purpose)),
        ("callwise.endpoint", endpoint),
        ("callwise.simulated", is_simulated or None),
        ("callwise.speculative", is_speculative or None),
        ("callwise.unreadable", is_unreadable or None),
    ]
    labels = tuple((name, value) for name, value in found if value is not None)
    name = f"{'embeddings' if is_embedding else 'chat'} {model}"
    return SpanKind(name, labels, is_call=True, error=error)


_PROVIDERS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
    "api.cohere": "cohere",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "bedrock-runtime.": "aws.bedrock",
}
"""Names that the conventions give providers, by the beginning of an endpoint's name."""


def provider_of(endpoint: str, *, is_simulated: bool) -> str:
    """Return the conventions' name of an endpoint's provider; the endpoint's where it has none."""
    if is_simulated:
        return "callwise.simulated"
    if ".openai.azure.com" in endpoint:
        return "azure.ai.openai"
    known = (name for start, name in _PROVIDERS.items() if endpoint.startswith(start))
    return next(known, endpoint)
