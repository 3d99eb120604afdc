"""Putting streams together, however they were cut into pieces."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.calls.openai_stream import EventReader, StreamAssembly
from callwise.calls.wire import reply_of_chat

texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=6)


def collect(pieces):
    """Return the events of a stream that comes in these pieces."""
    events = EventReader()
    return [data for piece in pieces for data in events.feed(piece)]


def cut(stream, places):
    """Return a stream cut at some places."""
    marks = [0, *sorted({place % (len(stream) + 1) for place in places}), len(stream)]
    return [stream[start:end] for start, end in pairwise(marks)]


@given(texts, st.lists(st.integers(0, 10_000), max_size=20), st.sampled_from([b"\n", b"\r\n"]))
def test_the_pieces_do_not_matter(words, places, end):
    """Wherever the network cuts, the events are the same."""
    events = [json.dumps(word, ensure_ascii=False).encode() for word in words]
    stream = b"".join(b": ping" + end + b"data: " + event + end + end for event in events)
    assert collect(cut(stream, places)) == events


def reference(stream):
    """Return the documents of a stream, read line by line as the standard says, in one go."""
    documents, lines = [], []
    stream = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for line in stream.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
        elif not line and any(lines):
            documents.append(json.loads(b"\n".join(lines)))
        if not line:
            lines = []
    return documents


line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
documents = st.dictionaries(
    st.sampled_from("ab:"),
    st.none() | st.sampled_from(["data: 1", "é\u2028\x85", "}", ""]) | st.lists(st.just({})),
    max_size=3,
)


@st.composite
def event_streams(draw):
    """A legal stream: one line's end throughout, events of one line or several, other fields."""
    end = draw(line_ends)
    stream = [draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))]
    others = st.sampled_from([b"", b"", b"", b": ping", b"id: 1", b"event: message", b"data"])
    for document in draw(st.lists(documents, max_size=6)):
        indent = draw(st.sampled_from([None, None, 1]))
        text = json.dumps(document, ensure_ascii=False, indent=indent).encode()
        space = draw(st.sampled_from([b"", b" "]))
        for line in text.split(b"\n"):
            other = draw(others)
            stream += [b"data:", space, line, end, *([other, end] if other else [])]
        stream += [end, *draw(st.sampled_from([[], [end], [b": ping", end, end]]))]
    return b"".join(stream)


@given(event_streams(), st.lists(st.integers(0, 10_000), max_size=20))
def test_every_legal_stream_is_read_as_the_standard_says(stream, places):
    """Wherever it is cut, with any line's end, and with events of several lines."""
    expected = reference(stream)
    for pieces in (
        cut(stream, places),
        [stream],
        [stream[at : at + 1] for at in range(len(stream))],
    ):
        assert [json.loads(data) for data in collect(pieces)] == expected


def test_one_byte_order_mark_is_dropped():
    """At the beginning alone, also where it is cut."""
    mark = b"\xef\xbb\xbf"
    stream = mark + b"data: 1\n\n" + mark + b"data: 2\n\ndata: \n\ndata: 3\n\n"
    for pieces in ([stream], cut(stream, range(len(stream))), cut(stream, [12, 24])):
        assert collect(pieces) == [b"1", b"3"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_without_an_empty_line_between_them_come_at_once(end):
    """Some servers write one line's end too few; nothing waits for the other."""
    events = EventReader()
    lines = [b'data: {"a": 1}' + end, b'data: {"a": 2}' + end, b"data: [DONE]" + end]
    assert [events.feed(line) for line in lines] == [[b'{"a": 1}'], [b'{"a": 2}'], [b"[DONE]"]]
    assert collect([b"".join(lines)]) == [b'{"a": 1}', b'{"a": 2}', b"[DONE]"]


def test_a_last_line_without_its_end_is_an_event_once_the_stream_has_ended():
    """Not before: the rest of it may follow."""
    events = EventReader()
    assert events.feed(b"data: 1\n\ndata: 2") == [b"1"]
    assert events.end() == [b"2"]
    assert events.end() == []


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b'data: {"message": "overloaded"}', {"message": "overloaded"}),
        (b'data: {"message":\ndata: "overloaded"}', {"message": "overloaded"}),
        (b'data: {"error": {"message": "full"}}', {"error": {"message": "full"}}),
        (b"data: overloaded", "overloaded"),
    ],
)
def test_an_event_named_error_is_an_error(data, error):
    """Whatever it carries; the name counts for that event alone."""
    stream = b"data: {}\n\nevent: error\n" + data + b"\n\ndata: [1]\n\n"
    for pieces in ([stream], cut(stream, range(len(stream)))):
        first, second, third = map(json.loads, collect(pieces))
        assert (first, second, third) == ({}, {"error": error}, [1])


@given(texts)
def test_chunks_join_to_the_text(words):
    """Escaped surrogate pairs included, as `json.dumps` writes them."""
    assembly = StreamAssembly()
    for word in words:
        event = {"choices": [{"index": 0, "delta": {"content": word}}]}
        assembly.add(json.dumps(event).encode())
    assert not assembly.is_whole
    assembly.add(b"[DONE]")
    assert assembly.is_whole
    assert "".join(assembly.chunks) == "".join(words)
    if words:
        assert reply_of_chat(assembly.body(), latency_seconds=0).text == "".join(words)


contents = (
    st.none() | st.text(max_size=4) | st.sampled_from(["\ud83d", "\ude00", '"content":', "}"])
)
deltas = st.fixed_dictionaries(
    {},
    optional={
        "role": st.just("assistant"),
        "content": contents,
        "reasoning": st.sampled_from(["", "hm"]),
        "tool_calls": st.sampled_from([None, [{"index": 0, "function": {"arguments": "1"}}]]),
    },
)
choices = st.fixed_dictionaries(
    {"index": st.sampled_from([0, 0, 0, 1]), "delta": deltas},
    optional={
        "finish_reason": st.sampled_from([None, "stop"]),
        "logprobs": st.sampled_from([None, {"content": [{"token": "a", "logprob": -1}]}]),
        "content": contents,
    },
)
stream_events = st.fixed_dictionaries(
    {"choices": st.lists(choices, min_size=1, max_size=2)},
    optional={"model": st.sampled_from(["", "m"]), "usage": st.sampled_from([None, {"cost": 1}])},
)


@given(st.lists(stream_events, max_size=3), st.lists(contents, max_size=8), st.booleans())
def test_events_read_by_pattern_mean_what_they_mean_in_full(events, words, is_spaced):
    """Events that differ from an earlier one in their text alone are not parsed in full."""
    alike = [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in words]
    separators = None if is_spaced else (",", ":")
    came = [[], []]
    read = [StreamAssembly(pieces.append) for pieces in came]
    read[1]._patterns_left = 0
    for event in [*events, *alike, *events]:
        data = json.dumps(event, separators=separators).encode()
        for assembly in read:
            assembly.add(data)
    assert came[0] == came[1]
    assert read[0].body() == read[1].body()
    assert read[0].chunks == read[1].chunks


@pytest.mark.parametrize("ids", [("c1", "c2"), ("", "")])
def test_tool_calls_without_an_index_are_told_apart(ids):
    """Some servers send each call whole, all of them without an index or with its id alone."""
    assembly = StreamAssembly()
    for call_id, name in zip(ids, ("look", "add"), strict=True):
        parts = [{"id": call_id, "function": {"name": name, "arguments": "{"}}]
        parts.append({"id": call_id, "function": {"arguments": "}"}})
        for part in parts:
            event = {"choices": [{"index": 0, "delta": {"tool_calls": [part]}}]}
            assembly.add(json.dumps(event).encode())
    [choice] = assembly.body()["choices"]
    functions = [call["function"] for call in choice["message"]["tool_calls"]]
    assert functions == [
        {"name": "look", "arguments": "{}"},
        {"name": "add", "arguments": "{}"},
    ]


def test_logprobs_of_a_stream_are_collected():
    """In order, of whatever events carry some; the text does not depend on them."""
    assembly = StreamAssembly()
    one, two, three = ({"token": token, "logprob": -index} for index, token in enumerate("abc"))
    for text, content in (("a", [one]), ("bc", [two, three]), ("d", None), ("", 7)):
        choice = {"index": 0, "delta": {"content": text}, "logprobs": {"content": content}}
        assembly.add(json.dumps({"choices": [choice]}).encode())
    assembly.add(b'{"choices": [{"index": 0, "delta": null, "logprobs": 3}]}')
    reply = reply_of_chat(assembly.body(), latency_seconds=0)
    assert reply.text == "abcd"
    read = [(each.token, each.logprob) for each in reply.token_logprobs]
    assert read == [("a", 0), ("b", -1), ("c", -2)]


def test_with_two_choices_both_must_end():
    """The end of one is not the end of the answer."""
    assembly = StreamAssembly()

    def add(index, reason):
        choice = {"index": index, "delta": {"content": "x"}, "finish_reason": reason}
        assembly.add(json.dumps({"choices": [choice]}).encode())

    add(0, None)
    add(1, None)
    add(0, "stop")
    assert not assembly.is_whole
    add(1, "stop")
    assert assembly.is_whole
    assert reply_of_chat(assembly.body(), latency_seconds=0).choices == ("xx", "xx")


@pytest.mark.parametrize("data", [b"", b"[1]", b'"x"', b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_event_is_a_value_error(data):
    """So that the client can call it a cut."""
    with pytest.raises(ValueError, match=r"."):
        StreamAssembly().add(data)


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"choices": None},
        {"choices": [None]},
        {"choices": [{"index": "a", "delta": 7}]},
        {"choices": [{"delta": {"content": None, "tool_calls": [{"index": None}, 3]}}]},
        {"choices": [{"delta": {"tool_calls": {"index": 1}}}]},
    ],
)
def test_odd_events_do_no_harm(event):
    """They add what can be understood."""
    assembly = StreamAssembly()
    assembly.add(json.dumps(event).encode())
    assembly.body()
