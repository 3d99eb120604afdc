"""Conversations that share a request: what they share, and whose answer and tokens are whose."""

import copyreg

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.calls import Call, Message, Purpose, Reply, ReportedUsage, Role
from callwise.calls.errors import BadResponse, BatchFailed, ContentRefused, ServerFailed
from callwise.calls.together import (
    apportioned,
    apportioned_usage,
    failures_of,
    joint_body,
    replies_of_choices,
    usage_sum,
)


def chat(text):
    """Return a chat call."""
    return Call(Role.MAIN, Purpose.OTHER, (Message("user", text),))


def choice(index, text, **more):
    """Return one choice of a response."""
    return {"index": index, "message": {"content": text}, "finish_reason": "stop"} | more


def document(*choices, usage=(100, 40)):
    """Return a response with a usage of prompt and completion tokens."""
    total = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return {"model": "m", "choices": list(choices), "usage": total}


def test_bodies_that_differ_in_messages_alone_become_one():
    """Each conversation is an element of `messages`, in order."""
    bodies = [{"model": "m", "temperature": 0, "messages": [{"content": text}]} for text in "ab"]
    joint = joint_body(bodies)
    assert joint == {
        "model": "m",
        "temperature": 0,
        "messages": [[{"content": "a"}], [{"content": "b"}]],
    }


@pytest.mark.parametrize("changed", [{"temperature": 1}, {"seed": 1}, {"max_tokens": 9}])
def test_bodies_that_differ_otherwise_never_do(changed):
    """What would change what one of them asks keeps them apart."""
    body = {"model": "m", "temperature": 0, "messages": []}
    with pytest.raises(ValueError, match=next(iter(changed))):
        joint_body([body, {**body, **changed}])


@given(
    total=st.integers(0, 10**9),
    weights=st.lists(st.integers(0, 10**6), min_size=1, max_size=40),
)
@settings(deadline=None, max_examples=100)
def test_parts_add_up_and_none_is_off_by_one(total, weights):
    """No token is lost or invented, and each part is its share, rounded."""
    parts = apportioned(total, weights)
    assert sum(parts) == total
    whole = sum(weights)
    if whole:
        assert all(
            abs(part * whole - total * weight) < whole
            for part, weight in zip(parts, weights, strict=True)
        )


@given(
    figures=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)).flatmap(
        lambda pair: st.tuples(
            st.just(pair), st.integers(0, pair[0]), st.integers(0, pair[1]), st.integers(0, 10**9)
        )
    ),
    weights=st.lists(st.tuples(st.integers(1, 10**4), st.integers(0, 10**4)), min_size=1),
)
@settings(deadline=None, max_examples=100)
def test_a_usage_is_the_sum_of_its_parts(figures, weights):
    """Figure by figure, and each part is possible in itself."""
    (prompt, completion), cached, reasoning, millionths = figures
    usage = ReportedUsage(prompt, completion, cached, millionths / 10**6, reasoning)
    parts = apportioned_usage(usage, *zip(*weights, strict=True))
    whole = usage_sum(parts)
    assert (whole.input_tokens, whole.output_tokens) == (prompt, completion)
    assert (whole.cached_tokens, whole.reasoning_tokens) == (cached, reasoning)
    assert whole.usd == pytest.approx(usage.usd)
    for part in parts:
        assert part.cached_tokens <= part.input_tokens
        assert part.reasoning_tokens <= part.output_tokens


def test_what_is_not_reported_is_unknown_for_each():
    """Unknown is not 0."""
    parts = apportioned_usage(ReportedUsage(9, None), [1, 2], [1, 1])
    assert parts == [ReportedUsage(3, None), ReportedUsage(6, None)]


def test_choices_are_given_to_conversations_by_index():
    """Whatever their order, and the longer answer has more of the tokens."""
    calls = [chat("one"), chat("two")]
    replies = replies_of_choices(
        document(choice(1, "b" * 30), choice(0, "a" * 10)), calls, latency_seconds=0.5
    )
    assert [reply.text for reply in replies] == ["a" * 10, "b" * 30]
    assert [reply.usage.output_tokens for reply in replies] == [10, 30]
    assert sum(reply.usage.input_tokens for reply in replies) == 100


@pytest.mark.parametrize(
    "choices",
    [
        [choice(0, "a")],
        [choice(0, "a"), choice(7, "b")],
        [choice(0, "a"), choice("1", "b")],
        [choice(0, "a"), choice(1, "b"), choice(1, "c")],
        [choice(0, "a"), {"index": 1}],
        [choice(0, "a"), choice(1, "b", error={"message": "boom"})],
        [choice(0, "a"), None],
        [choice(0, "a"), choice(True, "b")],
    ],
)
def test_a_conversation_without_one_choice_failed_alone(choices):
    """Fewer, other or double ids are no answer; its prompt tokens are counted all the same."""
    reply, failed = replies_of_choices(
        document(*choices), [chat("one"), chat("two")], latency_seconds=0.5
    )
    assert isinstance(reply, Reply)
    assert reply.text == "a"
    assert isinstance(failed, BatchFailed)
    assert reply.usage.output_tokens == 40
    assert failed.usage.output_tokens == 0
    assert reply.usage.input_tokens + failed.usage.input_tokens == 100


@pytest.mark.parametrize("first", [-1, 1, 100])
def test_indices_that_start_elsewhere_answer_nothing(first):
    """An answer is never given to the conversation next to its own."""
    calls = [chat("one"), chat("two"), chat("three")]
    choices = [choice(first + place, text) for place, text in enumerate("abc")]
    results = replies_of_choices(document(*choices), calls, latency_seconds=0.5)
    assert [type(result) for result in results] == [BatchFailed] * 3
    assert sum(result.usage.input_tokens for result in results) == 100


def test_a_conversation_that_the_model_declined_has_ended():
    """That is its answer: it is not asked again, and its tokens are known."""
    refused = {"index": 1, "message": {"refusal": "no"}}
    _, error = replies_of_choices(
        document(choice(0, "a"), refused), [chat("one"), chat("two")], latency_seconds=0.5
    )
    assert isinstance(error, ContentRefused)
    assert error.usage.total_tokens is not None


def test_a_response_without_choices_is_none():
    """It is not in the protocol."""
    with pytest.raises(BadResponse, match="one of `choices"):
        replies_of_choices({"object": "list"}, [chat("one")], latency_seconds=0.5)


def test_a_server_that_counts_no_answer_tokens_leaves_them_unknown():
    """0 tokens of an answer with text are not counted."""
    [reply] = replies_of_choices(
        document(choice(0, "a"), usage=(10, 0)), [chat("one")], latency_seconds=0.5
    )
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (10, None)


@pytest.mark.parametrize("output_tokens", [3, None])
def test_the_failures_of_a_request_have_each_a_part_of_its_usage(output_tokens):
    """Also where only a part of that is known; they are different errors."""
    failure = ServerFailed("boom", status=500)
    failure.usage = ReportedUsage(11, output_tokens)
    first, second = failures_of(failure, [chat("one"), chat("two")])
    assert first is not second
    assert first.usage.input_tokens + second.usage.input_tokens == 11
    assert usage_sum([first.usage, second.usage]).output_tokens == output_tokens


def test_failures_are_separate_where_a_library_has_registered_a_way_to_copy_errors(monkeypatch):
    """As tblib does, which `distributed` imports: its copies share their attributes."""

    def shared(error_type, args, attributes):
        error = error_type.__new__(error_type, *args)
        error.__dict__ = attributes
        return error

    monkeypatch.setitem(
        copyreg.dispatch_table,
        ServerFailed,
        lambda error: (shared, (type(error), error.args, error.__dict__)),
    )
    failure = ServerFailed("boom", status=500)
    failure.usage = ReportedUsage(11, 3)
    first, second = failures_of(failure, [chat("one"), chat("two")])
    assert {type(first), type(second)} == {ServerFailed}
    assert (str(first), first.status) == ("boom", 500)
    assert first.usage.input_tokens + second.usage.input_tokens == 11
