"""`max_calls` as arithmetic: what a mark allows, and how a breach reads."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.calls.errors import ConfigError
from callwise.report.run_record import CallLine
from callwise.testing.call_counts import LoggedCall, allowed_calls, broken_limits


def calls(
    count: int,
    *,
    turn: int = 0,
    conversation: str = "moving-city",
    source: str = "",
    node: str | None = "lats_search",
    role: str = "main",
    purpose: str = "expand",
) -> list[LoggedCall]:
    """Return equal calls of one turn."""
    line = CallLine.model_validate(
        {
            "conversation": conversation,
            "turn": turn,
            "node": node,
            "role": role,
            "purpose": purpose,
            "outcome": "served",
        }
    )
    return [LoggedCall(line, source)] * count


def test_a_breach_names_turn_node_and_by_how_much() -> None:
    """The text says what was asked, what is allowed, and which kinds of calls they were."""
    asked = [*calls(6, turn=7), *calls(12, turn=7, node="lats_search", role="judge")]
    asked = [*asked, *calls(3, turn=8)]
    (text,) = broken_limits({"turn": 16}, asked)
    assert text == (
        "max_calls: turn 7 of moving-city asked 18 calls, allowed 16 (+2): "
        "lats_search/judge/expand 12, lats_search/main/expand 6"
    )


def test_a_limit_that_is_just_met_is_kept() -> None:
    """16 calls are not more than 16."""
    assert broken_limits({"turn": 16, "main": 16, "lats_search": 16}, calls(16)) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("judge", "2 calls of role judge, allowed 1 (+1)"),
        ("lats_search", "3 calls of node lats_search, allowed 1 (+2)"),
        ("expand", "4 calls of purpose expand, allowed 1 (+3)"),
    ],
)
def test_a_name_is_a_role_a_node_or_a_purpose(name: str, words: str) -> None:
    """Each name counts its own calls in a turn, and says which kind of name it is."""
    asked = [*calls(1), *calls(2, role="judge"), *calls(1, node=None)]
    (text,) = broken_limits({name: 1}, asked)
    assert words in text


def test_a_node_goes_before_a_purpose_of_its_name() -> None:
    """A node named `plan` is meant by `plan`, whatever the purposes of its calls are."""
    asked = [*calls(1, node="plan"), *calls(5, purpose="plan")]
    assert broken_limits({"plan": 1}, asked) == []


def test_conversations_and_the_test_have_totals() -> None:
    """Both count over turns; the test counts over conversations too."""
    asked = [*calls(3, turn=0), *calls(3, turn=1), *calls(3, conversation="other")]
    conversation, test = broken_limits({"turn": 3, "conversation": 5, "test": 8}, asked)
    assert "conversation moving-city asked 6 calls, allowed 5 (+1)" in conversation
    assert "the test asked 9 calls, allowed 8 (+1)" in test


def test_runs_of_the_same_conversation_are_not_added_up() -> None:
    """Two runs have a turn 0 each, and the text says of which run it speaks."""
    asked = [*calls(3, source="run 1, classic"), *calls(5, source="run 2, balanced")]
    (text,) = broken_limits({"turn": 4}, asked)
    assert "turn 0 of moving-city (run 2, balanced) asked 5 calls, allowed 4 (+1)" in text


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    """A name that could never count is a failure, not a limit that is always kept."""
    (text,) = broken_limits({"lats_serch": 4}, calls(1))
    assert "no node of this name asked; did you mean lats_search?" in text
    assert "nodes that asked: lats_search" in text


def test_a_role_that_asked_nothing_is_known() -> None:
    """`embed=0` and an unused purpose are kept, not unknown."""
    assert broken_limits({"embed": 0, "humanize": 0}, calls(2)) == []


def test_nothing_asked_is_nothing_checked() -> None:
    """A program that never got the fixture's model must not pass; a test of 0 calls does."""
    (text,) = broken_limits({"turn": 4}, [])
    assert "asked nothing through the callwise fixture" in text
    assert broken_limits({"test": 0}, []) == []


def test_many_breaches_are_counted() -> None:
    """Six turns are shown, and of the others how many and how bad."""
    asked = [call for turn in range(9) for call in calls(2 + turn, turn=turn)]
    texts = broken_limits({"turn": 1}, asked)
    assert len(texts) == 7
    assert texts[-1] == "max_calls: and 3 more turns asked too much, up to +9"


def test_untrusted_names_stay_on_one_line() -> None:
    """A conversation's id that would move the cursor is shown as what it is."""
    (text,) = broken_limits({"turn": 1}, calls(2, conversation="a\x1b[2J\nb", node="n\n"))
    assert text.isprintable()


@pytest.mark.parametrize(
    ("given_marks", "words"),
    [
        ([((16,), {})], "wants names"),
        ([((), {})], "wants names"),
        ([((), {"turn": -1})], "at least 0"),
        ([((), {"turn": 1.5})], "whole number"),
        ([((), {"turn": True})], "whole number"),
    ],
)
def test_a_mark_that_cannot_work_is_refused(
    given_marks: list[tuple[tuple[Any, ...], dict[str, Any]]], words: str
) -> None:
    """Positional, missing, negative and fractional limits are refused."""
    with pytest.raises(ConfigError, match=words):
        allowed_calls(given_marks)


def test_the_nearest_mark_goes_first() -> None:
    """A test's own mark wins over its class's, name by name."""
    assert allowed_calls([((), {"turn": 4}), ((), {"turn": 9, "judge": 2})]) == {
        "turn": 4,
        "judge": 2,
    }


@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=6), most=st.integers(0, 6))
def test_a_turn_limit_breaks_exactly_where_a_turn_is_over(counts: list[int], most: int) -> None:
    """Whatever the counts, there is one text for each turn over the limit."""
    asked = [call for turn, count in enumerate(counts) for call in calls(count, turn=turn)]
    texts = broken_limits({"turn": most}, asked)
    if asked or most == 0:
        assert len(texts) == sum(count > most for count in counts)
