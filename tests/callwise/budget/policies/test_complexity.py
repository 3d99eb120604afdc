"""Complexity of a request: a value from 0 to 1 that is the weighted mean of what it explains."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from callwise.budget.policies.complexity import TASKS, complexity_of
from callwise.calls import Call, Message, Purpose, Role
from callwise.calls.policies import ComplexityKnobs


class Answer(BaseModel):
    """A form with a few bytes of schema."""

    score: float


def call_of(text="hello", purpose=Purpose.JUDGE, **options):
    """Return a call of one message."""
    return Call(Role.MAIN, purpose, (Message("user", text),), **options)


def test_the_value_is_the_weighted_mean_of_its_parts():
    """With default weights: length .4, task .3, messages, form and seconds .1 each."""
    knobs = ComplexityKnobs(full_tokens=100, full_messages=2, full_seconds=10)
    found = complexity_of(call_of("a" * 200), knobs, full_tokens=1, seconds=5)
    parts = {name: part for name, part, _ in found.parts}
    assert parts == {"length": 0.5, "messages": 0.5, "form": 0.0, "task": 0.6, "seconds": 0.5}
    assert found.value == 0.2 + 0.18 + 0.05 + 0.05
    assert found.explain(2) == "complexity 0.48 (length 0.50, task 0.60)"
    assert all(name in found.explain() for name in parts)


def test_what_is_not_known_is_left_out():
    """The task of another program's call, and time that was not measured; not counted as 0."""
    found = complexity_of(call_of("a" * 400, Purpose.OTHER), ComplexityKnobs(), full_tokens=100)
    assert [name for name, _, _ in found.parts] == ["length", "messages", "form"]
    assert found.value == round((0.4 + 0.1 / 20) / 0.6, 4)
    only_task = ComplexityKnobs(length=0, messages=0, form=0, seconds=0)
    assert complexity_of(call_of(purpose=Purpose.OTHER), only_task, full_tokens=1).value == 0


def test_tools_and_forms_add_to_it():
    """By the bytes of their schemas."""
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    bare, formed, tooled = (
        complexity_of(each, ComplexityKnobs(), full_tokens=8192).value
        for each in (call_of(), call_of(response_model=Answer), call_of(tools=(tool,)))
    )
    assert bare < formed
    assert bare < tooled


@given(
    text=st.text(max_size=300),
    purpose=st.sampled_from(list(Purpose)),
    weights=st.lists(st.floats(0, 1), min_size=5, max_size=5),
    full_tokens=st.integers(1, 1000),
    seconds=st.none() | st.floats(0, 1e6),
)
def test_it_is_from_0_to_1_and_grows_with_the_prompt(text, purpose, weights, full_tokens, seconds):
    """Whatever the weights are."""
    names = ("length", "task", "messages", "form", "seconds")
    given_weights = dict(zip(names, weights, strict=True))
    if not any(weights[:4]):
        given_weights["length"] = 1.0
    knobs = ComplexityKnobs(**given_weights)
    short, longer = (
        complexity_of(call_of(each, purpose), knobs, full_tokens=full_tokens, seconds=seconds)
        for each in (text, text + "more" * 100)
    )
    assert 0 <= short.value <= longer.value <= 1
    assert math.isfinite(short.value)


def test_weights_of_nothing_are_refused():
    """A complexity that is always 0 would route nothing."""
    with pytest.raises(ValidationError, match="needs a weight above 0"):
        ComplexityKnobs(length=0, task=0, messages=0, form=0)


def test_every_purpose_of_a_turn_has_a_task():
    """A new purpose needs one; embeddings are never routed, and `other` is not known."""
    assert set(Purpose) - set(TASKS) == {Purpose.EMBED, Purpose.OTHER}
