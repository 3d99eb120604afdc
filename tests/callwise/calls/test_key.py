"""The identity of a call: what changes an answer changes the key, and nothing else does."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from callwise.calls import Call, Message, Origin, Priority, Purpose, Role, Sampling, call_key
from callwise.calls.call import HoldBack
from callwise.calls.choice import Choice
from callwise.calls.schema import schema_digest


class First(BaseModel):
    """A form."""

    a: int


class Second(BaseModel):
    """Another form."""

    a: str


def _form(name, part_name, *, text="one to five", order=("part", "other"), **limits):
    """Return a form with a part, whose classes have these names."""
    part = create_model(part_name, score=(int, Field(description=text, ge=1, **limits)))
    other = create_model(f"Other{part_name}", a=(str, "x"))
    fields = {"part": (part, ...), "other": (other | None, None)}
    return create_model(name, **{field: fields[field] for field in order})


def test_names_of_classes_do_not_count():
    """Of a form, and of its parts, however they sort; nor do docstrings and defaults."""
    base = _form("Form", "Part")
    for same in (_form("Renamed", "Part"), _form("Form", "A"), _form("Form", "Zebra")):
        assert schema_digest(same) == schema_digest(base)
    documented = type("Form", (base,), {"__doc__": "Another text."})
    assert schema_digest(documented) == schema_digest(base)


@pytest.mark.parametrize("change", [{"text": "1-5"}, {"order": ("other", "part")}, {"le": 5}])
def test_what_a_model_reads_of_a_form_counts(change):
    """Descriptions of fields, their order, and what limits them."""
    assert schema_digest(_form("Form", "Part", **change)) != schema_digest(_form("Form", "Part"))


def test_a_form_that_contains_itself_has_a_digest():
    """And is another one than a list of texts."""

    class Tree(BaseModel):
        children: list["Tree"]

    class Flat(BaseModel):
        children: list[str]

    assert schema_digest(Tree) != schema_digest(Flat)


TOOL = {"type": "function", "function": {"name": "f"}}

texts = st.text(st.characters(), max_size=20)  # surrogates included
messages = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=texts,
    tool_call_id=st.none() | texts,
    name=st.none() | texts,
)
samplings = st.builds(
    Sampling,
    temperature=st.none() | st.floats(0, 2),
    max_tokens=st.none() | st.integers(1, 10_000),
    stop=st.lists(texts, max_size=2).map(tuple),
    n=st.integers(1, 4),
)
calls = st.builds(
    Call,
    role=st.sampled_from(Role),
    purpose=st.sampled_from(Purpose),
    messages=st.lists(messages, min_size=1, max_size=3).map(tuple),
    sampling=samplings,
    sample=st.integers(0, 5),
    response_model=st.sampled_from([None, First]),
)

IDENTITY = {
    "messages": lambda call: (*call.messages, Message("user", "more")),
    "response_model": lambda call: Second,
    "tools": lambda call: (*call.tools, TOOL),
    "tool_choice": lambda call: "required",
    "sample": lambda call: call.sample + 1,
    "repair": lambda call: call.repair + 1,
}
NOT_IDENTITY = {
    "role": lambda call: Role.JUDGE if call.role is not Role.JUDGE else Role.MAIN,
    "purpose": lambda call: Purpose.PLAN if call.purpose is not Purpose.PLAN else Purpose.OTHER,
    "speculative": lambda call: not call.speculative,
    "lease": lambda call: "reply",
    "max_repairs": lambda call: call.max_repairs + 1,
    "timeout_seconds": lambda call: 3.0,
    "stream": lambda call: not call.stream,
    "unkeyed_body": lambda call: {"user": "u1"},
    "held_back": HoldBack,
    "listener": lambda call: object(),
    "note": lambda call: "a note",
    "origin": lambda call: Origin("think", "s1", "1.1"),
    "share": lambda call: not call.share,
    "priority": lambda call: Priority.LOW,
    "deadline_seconds": lambda call: 3.0,
    "batch_key": lambda call: "a",
    "cache_ttl_seconds": lambda call: 3.0,
    "model": lambda call: "other",
    "choice": lambda call: Choice("route", "0" * 16, "0" * 64, "small"),
}
SAMPLING = {
    "temperature": lambda sampling: (sampling.temperature or 0) + 0.5,
    "top_p": lambda sampling: 0.5,
    "max_tokens": lambda sampling: (sampling.max_tokens or 0) + 1,
    "seed": lambda sampling: 1,
    "stop": lambda sampling: (*sampling.stop, "END"),
    "n": lambda sampling: sampling.n + 1,
    "reasoning_effort": lambda sampling: "low",
    "top_logprobs": lambda sampling: 0,
    "presence_penalty": lambda sampling: 0.0,
    "frequency_penalty": lambda sampling: 0.0,
    "extra_body": lambda sampling: {"top_k": 20},
}


def key(call, *, endpoint="e", model="m"):
    """Return a call's key at some endpoint."""
    return call_key(call, endpoint=endpoint, model=model)


def test_every_field_of_a_call_is_decided_about():
    """A new field must be put on one side or the other, here and in the key."""
    decided = IDENTITY.keys() | NOT_IDENTITY.keys() | {"sampling", "inputs"}
    assert {field.name for field in fields(Call)} == decided
    assert {field.name for field in fields(Sampling)} == SAMPLING.keys()


@given(calls)
def test_what_changes_the_answer_changes_the_key(call):
    """Each field of the identity on its own, and endpoint and model."""
    changed = [replace(call, **{name: change(call)}) for name, change in IDENTITY.items()]
    changed += [
        replace(call, sampling=replace(call.sampling, **{name: change(call.sampling)}))
        for name, change in SAMPLING.items()
    ]
    keys = [key(call), key(call, endpoint="f"), key(call, model="n"), *map(key, changed)]
    assert len(set(keys)) == len(keys)


@given(calls)
def test_what_does_not_change_the_answer_does_not_change_the_key(call):
    """Each of the other fields on its own, and all at once."""
    for name, change in NOT_IDENTITY.items():
        assert key(replace(call, **{name: change(call)})) == key(call), name
    everything = {name: change(call) for name, change in NOT_IDENTITY.items()}
    assert key(replace(call, **everything)) == key(call)


@given(calls)
def test_a_key_is_the_same_every_time(call):
    """64 hexadecimal digits, equal for equal calls."""
    again = replace(call, messages=tuple(replace(each) for each in call.messages))
    assert key(call) == key(again)
    assert len(key(call)) == 64
    assert set(key(call)) <= set("0123456789abcdef")


@given(st.lists(texts, min_size=1, max_size=4), st.lists(texts, min_size=1, max_size=4))
def test_texts_cannot_be_shifted_between_messages(left, right):
    """Different lists of contents have different keys, wherever the borders are."""

    def asked(contents):
        return Call(Role.MAIN, Purpose.OTHER, tuple(Message("user", each) for each in contents))

    assert (key(asked(left)) == key(asked(right))) == (left == right)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Message("user", "a", name="b"), Message("user", "a", tool_call_id="b")),
        (Message("user", "a"), Message("system", "a")),
        (Message("assistant", "", ({"id": "1"},)), Message("assistant", "", ({"id": "2"},))),
        (Message("user", "a"), Message("user", "a", parts=({"type": "text", "text": "a"},))),
        (
            Message("user", "a", parts=({"type": "image_url", "image_url": {"url": "1"}},)),
            Message("user", "a", parts=({"type": "image_url", "image_url": {"url": "2"}},)),
        ),
    ],
)
def test_messages_differ_by_each_of_their_fields(one, other):
    """The place of a value counts, not only the value."""
    base = Call(Role.MAIN, Purpose.OTHER, (one,))
    assert key(base) != key(replace(base, messages=(other,)))


def test_embeddings_differ_by_their_inputs():
    """And a chat call with the same text is another call."""
    one, two = (Call(Role.EMBED, Purpose.EMBED, inputs=inputs) for inputs in (("a", "b"), ("ab",)))
    chat = Call(Role.MAIN, Purpose.OTHER, (Message("user", "ab"),))
    assert len({key(one), key(two), key(chat)}) == 3


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), "425fe028a7d011f4d49c40bc42a6a82d4d6c87a5f3bed82cb4f3d28b18a990ca"),
        (
            Sampling(0.5, 0.9, 100, 7, ("END",), 2, "low"),
            "8924361c8c08d13358d394b1ab7ce17ddea5d9f762cc4a088c5623d7e74cb0d6",
        ),
    ],
)
def test_keys_of_recordings_stay(sampling, expected):
    """To the last digit; a change needs another `KEY_VERSION`."""
    call = Call(Role.MAIN, Purpose.OTHER, (Message("user", "a"),), sampling=sampling)
    assert key(call) == expected
    keys = {key(replace(call, sampling=replace(sampling, top_logprobs=n))) for n in (None, 0, 5)}
    assert len(keys) == 3
    assert expected in keys


@pytest.mark.parametrize("number", [-1, 21])
def test_more_logprobs_than_an_endpoint_returns_are_refused(number):
    """Before anything is sent."""
    with pytest.raises(ValueError, match=r"in \[0, 20\]"):
        Sampling(top_logprobs=number)


def test_the_order_of_a_tools_keys_does_not_count():
    """A tool is a JSON object."""
    base = Call(Role.MAIN, Purpose.OTHER, (Message("user", "a"),))
    one = replace(base, tools=({"a": 1, "b": 2},))
    assert key(one) == key(replace(base, tools=({"b": 2, "a": 1},)))


def test_a_call_is_chat_or_embedding():
    """Neither and both are refused."""
    with pytest.raises(ValueError, match="either messages"):
        Call(Role.MAIN, Purpose.OTHER)
    with pytest.raises(ValueError, match="either messages"):
        Call(Role.MAIN, Purpose.OTHER, (Message("user", "a"),), inputs=("a",))
    with pytest.raises(ValueError, match="at least 1"):
        Call(Role.MAIN, Purpose.OTHER, (Message("user", "a"),), sampling=Sampling(n=0))
