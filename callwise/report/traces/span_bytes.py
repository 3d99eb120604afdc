"""Spans as the bytes of an OTLP request: protobuf's wire format of `opentelemetry-proto`.

Problem: the OpenTelemetry SDK took 47 us of CPU per span of a call (`ReadableSpan` 3,
`encode_spans` 44; 14 attributes), and the protobuf library alone 17, which the thread of the calls
has to wait for. Choice: the five messages that a span consists of are written here, and attributes
with few different values once. The numbers of the fields are part of OTLP and do not change; tests
read the bytes with `opentelemetry-proto`.
"""

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache

from callwise.report.traces.turn_trace import (
    Labels,
    LabelValue,
    SpanKind,
    TraceSpan,
    TurnNote,
    spans_of,
)

__all__ = ["request_of", "turn_bytes"]

_START = struct.Struct("<2s16s2s8scQcQ")
"""Ids and times of a span: fields 1, 2, 7 and 8."""

_DOUBLE = struct.Struct("<d")

_FEW = 1024
"""Counts below this are written once."""

_INTERNAL, _CLIENT = b"\x30\x01", b"\x30\x03"
"""Kinds of spans, field 6."""


def request_of(turns: Iterable[bytes], resource: Labels = ()) -> bytes:
    """Return the body of one request with the spans of some turns.

    Args:
        turns: see `turn_bytes`.
        resource: attributes of whatever sends them.
    """
    scope = _field(0x0A, _field(0x0A, b"callwise"))
    described = b"".join(_attribute(0x0A, name, value) for name, value in resource)
    of_scope = _field(0x12, b"".join((scope, *turns)))
    return _field(0x0A, _field(0x0A, described) + of_scope)


def turn_bytes(turn: TurnNote) -> bytes:
    """Return the spans of a turn, as a part of a request."""
    trace_id = turn.trace_id
    return b"".join([_span(span, trace_id) for span in spans_of(turn)])


def _span(span: TraceSpan, trace_id: bytes) -> bytes:
    kind, span_id, parent_id, first, last, common, figures, message, events = span
    parts = [
        _START.pack(
            b"\x0a\x10",
            trace_id,
            b"\x12\x08",
            span_id,
            b"\x39",
            first,
            b"\x41",
            max(first, last),
        ),
        _beginning(kind),
        _written(common),
    ]
    if parent_id:
        parts.append(b"\x22\x08" + parent_id)
    for name, value in figures:
        if type(value) is int and 0 <= value < _FEW:
            parts.append(_count(name, value))
        elif type(value) is float:
            parts.append(_start_of_number(name) + _DOUBLE.pack(value))
        else:
            parts.append(_attribute(0x4A, name, value))
    for name, at, labels in events:
        event = b"\x09" + at.to_bytes(8, "little") + _field(0x12, _text(name))
        event += b"".join(_attribute(0x1A, key, value) for key, value in labels)
        parts.append(_field(0x5A, event))
    if message:  # a second status is merged with the first
        parts.append(_field(0x7A, _field(0x12, _text(message))))
    return _field(0x12, b"".join(parts))


@lru_cache(maxsize=4096)
def _beginning(kind: SpanKind) -> bytes:
    """Return what many spans have in common."""
    status = b"\x7a\x02\x18\x02" if kind.error else b""
    of_call = _CLIENT if kind.is_call else _INTERNAL
    return _field(0x2A, _text(kind.name)) + of_call + _written(kind.labels) + status


@lru_cache(maxsize=8192)
def _count(name: str, value: int) -> bytes:
    return _attribute(0x4A, name, value)


@lru_cache(maxsize=256)
def _start_of_number(name: str) -> bytes:
    """Return all of an attribute but the eight bytes of its number."""
    return _attribute(0x4A, name, 0.0)[:-8]


@lru_cache(maxsize=256)
def _written(labels: Labels) -> bytes:
    """Return attributes of a span."""
    return b"".join(_attribute(0x4A, name, value) for name, value in labels)


def _attribute(tag: int, name: str, value: LabelValue) -> bytes:
    """Return an attribute as a field with this tag, below 128."""
    return _field(tag, _key(name) + _field(0x12, _value(value)))


@lru_cache(maxsize=512)
def _key(name: str) -> bytes:
    return _field(0x0A, _text(name))


def _value(value: LabelValue) -> bytes:
    if isinstance(value, str):
        return _field(0x0A, _text(value))
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + _varint(min(value, _MOST))
    if isinstance(value, float):
        return b"\x21" + _DOUBLE.pack(value)
    return _field(0x2A, _values(value))


_MOST = 2**63 - 1


def _values(values: Sequence[str]) -> bytes:
    return b"".join(_field(0x0A, _field(0x0A, _text(each))) for each in values)


def _text(text: str) -> bytes:
    """Return UTF-8; halves of surrogate pairs, which it cannot have, are replaced."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace")


def _field(tag: int, content: bytes) -> bytes:
    """Return a field of bytes: its tag, below 128, its length, its content."""
    return _head(tag, len(content)) + content


@lru_cache(maxsize=4096)
def _head(tag: int, size: int) -> bytes:
    return bytes((tag,)) + _varint(size)


def _varint(number: int) -> bytes:
    """Return a whole number, seven bits a byte, the last first; a negative one in 64 bits."""
    number &= 2**64 - 1
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)
