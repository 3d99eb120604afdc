"""An exact comparison: every rise is found where it is, and nothing else is."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.calls.errors import ConfigError
from callwise.testing.gate import (
    Baseline,
    CallGroup,
    GatedFigure,
    Gates,
    compare,
    finding_lines,
    require_exact,
)
from callwise.testing.gate.run_figures import baseline_of_rows
from tests.callwise.testing.gate.conftest import rows_of, toy, turns_of

EXPAND = CallGroup("lats_search", "main", "expand")
COUNTS = st.fixed_dictionaries(
    {
        key: st.tuples(st.integers(0, 3), st.integers(1, 4))
        for key in (("one", 0), ("one", 1), ("two", 0))
    }
)


def test_a_run_against_itself_is_silent() -> None:
    """Nothing rose, nothing fell."""
    drift = compare(toy(), toy())
    assert not drift.has_failed
    assert (drift.failures, drift.tolerated, drift.gains) == ((), (), ())


def test_one_more_call_is_found_in_its_place() -> None:
    """Node, role, purpose, turn and count of the call that is new; no other finding."""
    drift = compare(toy(), toy({("one", 1): (1, 5)}))
    assert drift.has_failed
    (found,) = drift.failures
    assert (found.figure, found.path, found.key) == (GatedFigure.CALLS, EXPAND, ("one", 1))
    assert (found.before, found.now, found.share) == (4, 5, 0.25)


def test_one_call_less_is_no_failure_and_is_shown() -> None:
    """A saving passes, as a gain."""
    drift = compare(toy(), toy({("one", 1): (0, 4)}))
    assert not drift.has_failed
    assert [(found.before, found.now) for found in drift.gains] == [(1, 0)]


def test_a_call_that_moved_is_a_failure() -> None:
    """As many calls in all, one more in one node: the gate is by node, not by sum."""
    drift = compare(toy(), toy({("one", 0): (2, 3)}))
    assert drift.has_failed
    assert drift.baseline.asked_count == drift.current.asked_count


def test_a_prompt_that_moved_is_no_change_of_prompts() -> None:
    """Equal digests under another node's name are one move, with the node's tools and schema."""
    before = {"plan": "0", "write/agent": "1", "write/agent tools": "2", "old": "3"}
    now = {"plan": "0", "research/agent": "1", "research/agent tools": "2", "new": "4"}
    drift = compare(toy(prompts=before), toy({("one", 0): (2, 3)}, prompts=now))
    assert drift.causes.moved == (("write/agent", "research/agent"),)
    assert drift.causes.prompts == ("new", "old")
    assert "prompt moved from write/agent to research/agent" in finding_lines(drift)[0]


@settings(deadline=None, derandomize=True)
@given(before=COUNTS, now=COUNTS)
def test_it_fails_exactly_where_some_count_rose(
    before: dict[tuple[str, int], tuple[int, int]], now: dict[tuple[str, int], tuple[int, int]]
) -> None:
    """For any two runs the findings are the cells that differ, no more and no fewer."""
    drift = compare(toy(before), toy(now))
    rises = sum(new > old for key in now for old, new in zip(before[key], now[key], strict=True))
    falls = sum(new < old for key in now for old, new in zip(before[key], now[key], strict=True))
    assert (len(drift.failures), len(drift.gains)) == (rises, falls)
    assert drift.has_failed == bool(rises)


def test_a_tolerance_is_a_share_of_what_was() -> None:
    """25 % of 4 calls is 1; from none there is no share."""
    gates = Gates(calls=0.25)
    assert compare(toy(), toy({("one", 0): (1, 5)}), gates).tolerated
    assert compare(toy(), toy({("one", 0): (1, 6)}), gates).has_failed
    assert compare(toy({("one", 0): (0, 4)}), toy(), Gates(calls=10.0)).has_failed


def test_other_figures_are_gated_on_request_only() -> None:
    """Requests, rounds, tokens and cost may rise until they are gated."""
    now = toy(row={"requests": 2, "input_tokens": 120, "usd": 0.002})
    assert not compare(toy(), now).has_failed
    for gates, figures in (
        (Gates(requests=0.0), {GatedFigure.REQUESTS}),
        (Gates(tokens=0.1), {GatedFigure.TOKENS}),
        (Gates(tokens=0.2), set()),
        (Gates(usd=0.5), {GatedFigure.USD}),
        (Gates(usd=1.0), set()),
        (Gates(rounds=0.0), set()),
    ):
        assert {found.figure for found in compare(toy(), now, gates).failures} == figures


def test_more_unreadable_answers_are_a_failure() -> None:
    """Held in every turn without being asked for, at no rise unless one is allowed."""
    before = toy(row={"is_unreadable": True})
    drift = compare(toy(), before)
    assert {(each.figure, each.key, each.now) for each in drift.failures} == {
        (GatedFigure.UNREADABLE, ("one", 0), 5),
        (GatedFigure.UNREADABLE, ("one", 1), 5),
        (GatedFigure.UNREADABLE, ("two", 0), 3),
    }
    assert not compare(before, before).failures
    assert compare(before, toy()).gains
    more = toy({("one", 0): (1, 5)}, row={"is_unreadable": True})
    allowing = Gates(calls=0.25, unreadable=0.2)
    assert not compare(before, more, allowing).has_failed


def test_more_degradations_are_a_failure() -> None:
    """Of the turns that went on without something; fewer are a gain."""
    rows = rows_of()
    turns = turns_of(rows)
    degraded = [{**turns[0], "degraded": [{"node": "reasoner"}, {"node": "lats_search"}]}]
    facts: Any = {"app": "toy.app:app", "preset": "toy"}
    whole = baseline_of_rows(rows, turns, **facts)
    poor = baseline_of_rows(rows, degraded + turns[1:], **facts)
    (found,) = compare(whole, poor).failures
    assert (found.figure, found.key, found.now) == (GatedFigure.DEGRADED, ("one", 0), 2)
    assert not compare(poor, whole).has_failed


def test_rounds_are_gated_in_every_turn() -> None:
    """Rounds to the reply and to the end, of the turn whose chain grew."""
    drift = compare(toy(), toy({("two", 0): (1, 3)}), Gates(rounds=0.0))
    found = {(each.figure, each.key, each.now) for each in drift.failures[1:]}
    assert found == {
        (GatedFigure.ROUNDS_REPLY, ("two", 0), 4),
        (GatedFigure.ROUNDS_TURN, ("two", 0), 5),
    }


def test_tokens_name_the_turn_that_rose_most() -> None:
    """A figure of the whole run says where most of it is."""
    drift = compare(toy(), toy({("one", 1): (1, 6), ("two", 0): (1, 3)}), Gates(tokens=0.0))
    (found,) = (each for each in drift.failures if each.figure is GatedFigure.TOKENS)
    assert (found.key, found.most_in) == (None, ("one", 1))


def test_sums_of_floats_in_another_order_are_no_drift() -> None:
    """Cost is summed over turns; its last digit is no finding."""
    costs = [0.1, 0.2, 0.3]
    runs = []
    for order in (costs, costs[::-1]):
        turns = [
            turn.model_copy(update={"usd": usd})
            for turn, usd in zip(toy().turns, order, strict=True)
        ]
        runs.append(toy().model_copy(update={"turns": tuple(turns)}))
    assert compare(*runs, Gates(usd=0.0)).failures == ()


@pytest.mark.parametrize(
    ("now", "has_failed", "is_gain"),
    [(0.5, False, False), (0.44, True, False), (0.46, False, False), (0.6, False, True)],
)
def test_quality_may_not_fall(now: float, *, has_failed: bool, is_gain: bool) -> None:
    """The mean over turns may fall by what is allowed, in its own unit; a rise is a gain."""
    keys = [turn.key for turn in toy().turns]
    before = toy(quality=dict.fromkeys(keys, 0.5))
    drift = compare(before, toy(quality=dict.fromkeys(keys, now)), Gates(quality=0.05))
    assert drift.has_failed == has_failed
    assert bool(drift.gains) == is_gain


@pytest.mark.parametrize(
    ("gates", "row", "said"),
    [
        (Gates(usd=0.0), {"usd": None}, "usd"),
        (Gates(tokens=0.0), {"unknown_usage": 1}, "tokens"),
        (Gates(quality=0.0), {}, "quality"),
    ],
)
def test_a_figure_that_is_unknown_cannot_be_gated(
    gates: Gates, row: dict[str, Any], said: str
) -> None:
    """Unknown is not 0: the error says which side does not record it."""
    with pytest.raises(
        ConfigError, match=f"cannot gate {said}: the (run|baseline) does not record"
    ):
        compare(toy(), toy(row=row), gates)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (toy(app="other.app:app"), "other.app:app"),
        (toy(preset="frugal"), "frugal"),
        (toy(conversations="d" * 64), "other conversations"),
        (toy(is_simulated=True), "simulated"),
        (toy({("one", 2): (1, 1)}), "turn 2 of 'one'"),
        (toy({("one", 1): (0, 0), ("two", 0): (0, 0)}), "2 turns, the first turn 1 of 'one'"),
    ],
)
def test_what_is_of_something_else_cannot_be_compared(now: Baseline, said: str) -> None:
    """Another app, preset, conversation or turn is an error that names it and the way out."""
    with pytest.raises(ConfigError, match="--update") as error:
        compare(toy(), now)
    assert said in str(error.value)


def test_a_digest_that_one_side_lacks_is_no_mismatch() -> None:
    """Who made no digest of the conversations is held to the turns alone."""
    assert not compare(toy(conversations=None), toy()).has_failed


def test_calls_outside_of_turns_are_gated_too() -> None:
    """A call that belongs to no turn is asked all the same."""
    path = "watcher/main/other"
    drift = compare(toy(), toy().model_copy(update={"asked_outside": {path: 1}}))
    (found,) = drift.failures
    assert (found.key, str(found.path)) == (None, path)


def test_a_live_run_is_sent_to_the_live_gate() -> None:
    """An exact gate would alarm for the model's own noise."""
    with pytest.raises(ConfigError, match="--live"):
        require_exact(toy(row={"outcome": "served"}))
    require_exact(toy())
    require_exact(toy(row={"outcome": "served", "is_simulated": True}))


def test_findings_come_largest_first() -> None:
    """What rose most is read first."""
    drift = compare(toy(), toy({("one", 0): (2, 5), ("two", 0): (1, 9)}))
    assert [found.change for found in drift.failures] == [7, 1, 1]
