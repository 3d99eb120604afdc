"""Reported usage as figures that can be added up, however absurd it is."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.calls import Call, Message, Purpose, Reply, Role
from callwise.calls.reply import ReportedUsage
from callwise.calls.reported_usage import MAX_TOKENS, checked_usage, usage_note, usage_of_body


def read(**usage: object) -> ReportedUsage:
    """Return the usage of a body that reports these figures."""
    return usage_of_body({"usage": usage})


@pytest.mark.parametrize(
    "value",
    [-1, True, False, math.nan, math.inf, -math.inf, 1e30, 10**30, 10**5000, "12", [], {}],
    ids=lambda value: str(value)[:5] if value != 10**5000 else "huge",
)
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "cost"])
def test_what_is_no_figure_is_unknown_and_noted(name, value):
    """Negative, endless, of another type: unknown, never 0, and said by name."""
    usage = read(**{"prompt_tokens": 10, "completion_tokens": 5, "cost": 0.1, name: value})
    figures = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "cost": usage.usd,
    }
    assert figures.pop(name) is None
    assert None not in figures.values()
    assert usage.odd.startswith(f"{name} ")


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, (10, 5, "")),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 45}, (10, 35, "total")),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 3}, (10, 5, "total")),
        ({"prompt_tokens": 10, "total_tokens": 15}, (10, 5, "")),
        ({"completion_tokens": 5, "total_tokens": 15}, (10, 5, "")),
        ({"total_tokens": 15}, (None, None, "")),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, (None, 0, "")),
        ({"prompt_tokens": 10, "completion_tokens": None, "total_tokens": 10}, (10, None, "")),
        ({"prompt_tokens": 9.5, "completion_tokens": 4.0}, (10, 4, "")),
        (None, (None, None, "")),
        ("much", (None, None, "")),
    ],
)
def test_a_total_adds_what_its_parts_leave_out(reported, expected):
    """The most that may be billed counts, and a contradiction is noted."""
    usage = usage_of_body({"usage": reported})
    assert (usage.input_tokens, usage.output_tokens) == expected[:2]
    assert usage.odd.startswith(expected[2])
    assert bool(usage.odd) == bool(expected[2])


def test_thoughts_beyond_the_output_are_counted_apart_from_it():
    """A provider that leaves thoughts out of its output charges for them all the same."""
    details = {"reasoning_tokens": 300}
    usage = read(prompt_tokens=10, completion_tokens=5, completion_tokens_details=details)
    assert (usage.output_tokens, usage.reasoning_tokens) == (305, 300)
    assert "reasoning_tokens 300 of 5" in usage.odd


def test_no_more_of_a_prompt_is_cached_than_it_has():
    """A discount is never given for more than was asked."""
    usage = read(prompt_tokens=10, completion_tokens=5, prompt_tokens_details={"cached_tokens": 99})
    assert usage.cached_tokens == 10
    assert usage.odd == "cached_tokens 99 of 10"


def test_a_usage_of_another_client_is_held_to_the_same():
    """What a LangChain model or an own client reports is checked, and kept where it is right."""
    right = ReportedUsage(10, 5, 3, 0.5, 2)
    assert checked_usage(right) is right
    assert checked_usage(ReportedUsage()) == ReportedUsage()
    wrong = checked_usage(ReportedUsage(-3, math.nan, True, -1.0, "many"))  # type: ignore[arg-type]
    assert wrong == ReportedUsage(odd=wrong.odd)
    assert len(wrong.odd.split(", ")) == 5


FIGURES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


@settings(deadline=None)
@given(st.tuples(*[FIGURES] * 6))
def test_any_usage_has_a_result_that_can_be_added_up(figures):
    """Whatever is reported, each figure is unknown or possible, and stays so."""
    prompt, completion, cached, total, reasoning, cost = figures
    usage = read(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=total,
        cost=cost,
        prompt_tokens_details={"cached_tokens": cached},
        completion_tokens_details={"reasoning_tokens": reasoning},
    )
    for tokens in (usage.input_tokens, usage.output_tokens, usage.cached_tokens):
        assert tokens is None or (type(tokens) is int and 0 <= tokens <= MAX_TOKENS)
    assert usage.usd is None or 0 <= usage.usd <= 10_000
    if usage.cached_tokens is not None and usage.input_tokens is not None:
        assert usage.cached_tokens <= usage.input_tokens
    assert checked_usage(usage) is usage


def test_a_possible_figure_beyond_the_texts_is_counted_and_remarked_on():
    """It may be billed, so it is no unknown; nor does it pass without a word."""
    call = Call(Role.MAIN, Purpose.OTHER, (Message("user", "hi"),))
    reply = Reply("ok", usage=ReportedUsage(10, 500_000))
    assert usage_note(call, reply) == (
        "odd usage (500,000 completion tokens of an answer of 4 bytes)"
    )
    assert "prompt tokens of a prompt of" in usage_note(
        call, Reply("ok", usage=ReportedUsage(90_000, 5))
    )
    assert usage_note(call, Reply("ok", usage=ReportedUsage(4_000, 4_000))) == ""
    thoughtful = Reply("ok", usage=ReportedUsage(10, 60_000, reasoning_tokens=59_000))
    assert usage_note(call, thoughtful) == ""
    long = Call(Role.MAIN, Purpose.OTHER, (Message("user", "word " * 50_000),))
    assert usage_note(long, Reply("ok", usage=ReportedUsage(60_000, 5))) == ""
