"""A task of one's own: states of any type, and what its proposer and judge may do."""

import asyncio
import json
import math
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from lats.answers import Verdict
from lats.policy import RemainingCalls
from lats.problem import Problem
from lats.result import StateError, StopReason
from lats.search_knobs import SearchKnobs
from lats.solving import resume, solve
from lats.state_drafts import StateDrafts

TARGET = 37
KNOBS = SearchKnobs(policy="posterior_uct", max_calls=40, stop_score=1.0, tree_exploration=0)


class Down(Exception):
    """Error of a failed call."""


class NoRoom(Exception):
    """Error of a budget that refuses all further calls."""


class Guess(BaseModel):
    """A state as a pydantic model."""

    number: int


@dataclass(frozen=True)
class Walk:
    """A state as a dataclass: a number of three digits, digit by digit."""

    digits: tuple[int, ...] = ()


def near(state, k, origin):
    """Propose numbers around one, or small ones."""
    centre = 10 * origin.attempt if state is None else state
    return [centre + step for step in (1, -1, 3, -3, 9, -9)][:k]


def closeness(states, given):
    """Score how near numbers are to the target."""
    return [1 / (1 + abs(TARGET - state)) for state in states]


def numbers(**changes):
    """Return the problem of finding the target."""
    parts = {"propose": near, "judge": closeness} | changes
    return Problem(int, parts.pop("propose"), parts.pop("judge"), **parts)


async def test_the_best_state_comes_back():
    """As the type that was proposed, with why the search stopped and what it took."""
    found = await solve(numbers(), KNOBS)
    assert (found.best, found.stop_reason, found.is_answer) == (37, StopReason.EARLY_EXIT, True)
    assert found.mean_score == 1.0
    assert found.confidence.chance_best > 0.5
    assert found.calls == found.result.calls <= 40
    assert found.rounds == found.result.rounds
    assert found.search.is_done


async def test_coroutine_functions_give_the_same_search():
    """They travel together, and their order is the round's."""

    async def propose(state, k, origin):
        await asyncio.sleep(0)
        return near(state, k, origin)

    async def judge(states, given):
        await asyncio.sleep(0)
        return closeness(states, given)

    plain = await solve(numbers(), KNOBS)
    awaited = await solve(numbers(propose=propose, judge=judge), KNOBS)
    assert awaited.search.state_dict() == plain.search.state_dict()


async def test_the_calls_of_a_round_travel_together():
    """Two generations wait for each other, so neither waited for the other's answer."""
    both = asyncio.Barrier(2)

    async def propose(state, k, origin):
        if state is None:
            await asyncio.wait_for(both.wait(), 60)
        return near(state, k, origin)

    found = await solve(numbers(propose=propose), SearchKnobs(policy="best_of_n", max_calls=3))
    assert found.rounds == 2


@pytest.mark.parametrize(
    ("state_type", "make", "read"),
    [
        (Guess, lambda number: Guess(number=number), lambda state: state.number),
        (tuple[int, str], lambda number: (number, "n"), lambda state: state[0]),
        (Fraction, Fraction, int),
        (dict[str, int], lambda number: {"n": number}, lambda state: state["n"]),
        (bytes, lambda number: str(number).encode(), int),
    ],
    ids=["model", "tuple", "fraction", "dict", "bytes"],
)
async def test_a_state_is_of_any_type_that_json_gives_back(state_type, make, read):
    """Proposed states are judged, refined and returned as they are."""

    def propose(state, k, origin):
        return [make(each) for each in near(None if state is None else read(state), k, origin)]

    def judge(states, given):
        assert [type(state) for state in states] == [type(make(1))] * len(states)
        return closeness([read(state) for state in states], given)

    found = await solve(Problem(state_type, propose, judge), KNOBS)
    assert read(found.best) == 37


def _walk_problem(**changes):
    def propose(walk, k, origin):
        return [Walk((*walk.digits, digit)) for digit in range(9)][:k]

    def judge(walks, given):
        return [sum(walk.digits) / 27 for walk in walks]

    parts = {
        "propose": propose,
        "judge": judge,
        "is_answer": lambda walk: len(walk.digits) == 3,
        "start": Walk(),
    } | changes
    return Problem(Walk, **parts)


async def test_steps_lead_to_answers_from_the_start():
    """Only a walk of three digits is an answer."""
    knobs = SearchKnobs(policy="posterior_uct", max_calls=30, max_depth=3, generate_k=9, refine_k=9)
    found = await solve(_walk_problem(), knobs)
    assert found.is_answer
    assert found.best == Walk((8, 8, 8))


async def test_without_an_answer_the_best_step_is_said_to_be_none():
    """A cap that ends the search early is not hidden."""
    found = await solve(_walk_problem(), SearchKnobs(policy="posterior_uct", max_calls=2))
    assert not found.is_answer
    assert len(found.best.digits) == 1


async def test_nothing_proposed_is_nothing_found():
    """With the reason in the result."""
    found = await solve(numbers(propose=lambda state, k, origin: []), KNOBS)
    assert (found.best, found.mean_score, found.is_answer) == (None, None, False)
    assert found.stop_reason is StopReason.FAILED


async def test_states_whose_texts_differ_in_marks_only_are_two():
    """A search of replies would take `a+b` and `a-b` for the same words."""
    signs = ["a+b", "a-b", "a*b", "A-B"]
    problem = Problem(
        str, lambda state, k, origin: signs, lambda states, given: [s == "a*b" for s in states]
    )
    found = await solve(problem, SearchKnobs(policy="best_of_n", max_calls=2))
    assert found.best == "a*b"
    assert len(found.result.tree) == 4


async def test_long_states_that_begin_alike_are_two():
    """A tree cuts long texts; the states stay whole."""
    long = "x" * 5000
    problem = Problem(
        str,
        lambda state, k, origin: [long + "1", long + "2"],
        lambda states, given: [state.endswith("2") for state in states],
        text=str,
    )
    found = await solve(problem, SearchKnobs(policy="best_of_n", max_calls=2))
    assert found.best == long + "2"


async def test_equal_texts_are_one_state():
    """Which of them stays is the first."""
    problem = numbers(text=lambda state: "odd" if state % 2 else "even")
    found = await solve(problem, SearchKnobs(policy="best_of_n", max_calls=2))
    assert len(found.result.tree) == 1


async def test_the_proposer_is_told_what_it_goes_on_from():
    """Attempts count up; leaders come with what the judge said."""
    seen = []

    def propose(state, k, origin):
        seen.append((state, origin))
        return near(state, k, origin)

    def judge(states, given):
        return [
            Verdict(score=score, reason=f"{state} is off")
            for state, score in zip(states, closeness(states, given), strict=True)
        ]

    knobs = SearchKnobs(policy="listwise", max_calls=6, refine=True)
    await solve(numbers(propose=propose, judge=judge), knobs)
    assert [(state, origin.attempt) for state, origin in seen[:2]] == [(None, 0), (None, 1)]
    assert all(origin.leaders == () for _, origin in seen[:2])
    state, origin = seen[2]
    assert origin.leaders[0].state == state
    assert origin.leaders[0].verdict.reason == f"{state} is off"
    assert origin.leaders[0].mean_score > origin.leaders[1].mean_score


async def test_the_judge_is_given_its_pass():
    """So that a second reading is a second opinion."""
    passes = []

    def judge(states, given):
        passes.append(given)
        return closeness(states, given)

    knobs = SearchKnobs(policy="listwise", max_calls=3, rubrics=("first", "second"))
    await solve(numbers(judge=judge), knobs)
    assert [(given.number, given.rubric) for given in passes] == [(0, "first"), (1, "second")]


@pytest.mark.parametrize("side", ["propose", "judge"])
async def test_a_listed_failure_costs_one_call(side):
    """The search goes on, and counts it."""
    calls = []

    def fail_once(function):
        def wrapped(*args):
            calls.append(args)
            if len(calls) == 1:
                raise Down("the first call fails")
            return function(*args)

        return wrapped

    whole = {"propose": near, "judge": closeness}
    problem = numbers(**{side: fail_once(whole[side])}, failures=(Down,))
    found = await solve(problem, KNOBS)
    assert found.best == 37
    assert sum(found.result.failed.values()) == 1


async def test_a_refusal_ends_with_the_best_so_far():
    """A call like a refused one would be refused as well."""

    def judge(states, given):
        if given.number == 2:
            raise NoRoom("spent")
        return closeness(states, given)

    found = await solve(numbers(judge=judge, refusals=(NoRoom,)), KNOBS)
    assert found.stop_reason is StopReason.BUDGET
    assert found.best is not None


async def test_an_unlisted_error_reaches_the_caller_with_the_search():
    """Calls of its round that are under way are waited for, since they are paid for."""
    both = asyncio.Barrier(2)

    async def propose(state, k, origin):
        await both.wait()
        if origin.attempt == 0:
            raise Down("not listed")
        await asyncio.sleep(0)
        return near(state, k, origin)

    kept = []
    with pytest.raises(Down, match="not listed") as raised:
        await solve(
            numbers(propose=propose),
            SearchKnobs(policy="best_of_n", max_calls=3),
            checkpoint=kept.append,
        )
    notes = "\n".join(raised.value.__notes__)
    assert "In propose(the start, k=4, attempt 0) by " in notes
    assert ", action generate:0." in notes
    assert "resume(problem, error.search.state_dict())" in notes
    assert list(raised.value.search.open_answers) == ["generate:1"]
    assert kept[-1] == raised.value.search.state_dict()

    asked = []

    def again(state, k, origin):
        asked.append(origin.attempt)
        return near(state, k, origin)

    found = await resume(numbers(propose=again), kept[-1])
    assert asked[0] == 0
    assert 1 not in asked
    whole = await solve(numbers(), SearchKnobs(policy="best_of_n", max_calls=3))
    assert found.search.state_dict() == whole.search.state_dict()


@pytest.mark.parametrize(
    ("scores", "error", "said"),
    [
        ([], ValueError, "judge returned 0 scores for 4 states; give None"),
        ([0.5] * 3, ValueError, "judge returned 3 scores for 4 states"),
        ([0.5] * 9, ValueError, "judge returned more scores for 4 states"),
        ([0.5, 0.5, 0.5, 7], ValueError, r"7\.0; expected a figure in \[0, 1\]"),
        ([0.5, 0.5, -0.1, 0.5], ValueError, r"-0\.1; expected"),
        ([math.inf] * 4, ValueError, "inf; expected"),
        (["good"] * 4, TypeError, "'good'; expected a figure"),
        ("good", TypeError, "judge returned 'good', expected scores in a list"),
        (None, TypeError, "judge returned None, expected scores"),
        ({"a": 1}, TypeError, "expected scores in a list"),
        (0.5, TypeError, "judge returned 0.5"),
    ],
)
async def test_scores_that_cannot_be_read_are_an_error(scores, error, said):
    """Matched by place, a wrong number of scores could be anyone's."""
    problem = numbers(judge=lambda states, given: scores)
    with pytest.raises(error, match=said):
        await solve(problem, SearchKnobs(policy="best_of_n", max_calls=2))


async def test_a_missing_score_is_missing():
    """None and NaN are neither 0 nor average; True is 1, and sums may be a hair off."""
    said = {1: None, -1: math.nan, 3: True, -3: 1.0000000000000002, 9: Fraction(1, 3), -9: False}
    problem = numbers(judge=lambda states, given: [said[state] for state in states])
    knobs = SearchKnobs(policy="best_of_n", max_calls=2, generate_k=6)
    found = await solve(problem, knobs)
    nodes = list(found.result.tree.candidates)
    assert [node.score_count for node in nodes] == [0, 0, 1, 1, 1, 1]
    assert [node.verdict and node.verdict.score for node in nodes[2:]] == [1, 1, 1 / 3, 0]


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (None, "propose returned None, expected states in a list"),
        ("abc", "propose returned 'abc'"),
        (7, "propose returned 7"),
        (["seven"], "propose gave 'seven', no state of int: "),
        ([None], "propose gave None, no state of int: "),
    ],
)
async def test_what_is_no_state_is_an_error(states, said):
    """It names what came and who gave it."""
    with pytest.raises(TypeError, match=said):
        await solve(numbers(propose=lambda state, k, origin: states), KNOBS)


async def test_an_endless_proposer_is_read_as_far_as_needed():
    """It may be a generator; most of what it gives is dropped."""

    def propose(state, k, origin):
        while True:
            yield len(seen)
            seen.append(1)

    seen = []
    found = await solve(numbers(propose=propose), SearchKnobs(policy="best_of_n", max_calls=2))
    assert len(found.result.tree) == 4
    assert len(seen) < 200


async def test_a_state_that_json_changes_is_an_error():
    """Better than to search on with another state."""
    problem = Problem(float, lambda state, k, origin: [math.nan], closeness)
    with pytest.raises(TypeError, match="propose gave nan, "):
        await solve(problem, KNOBS)


async def test_a_state_that_json_cannot_hold_is_an_error():
    """Bytes that are no text, say."""
    problem = Problem(bytes, lambda state, k, origin: [b"\xff"], closeness)
    with pytest.raises(TypeError, match="which JSON cannot hold: "):
        await solve(problem, KNOBS)


async def test_a_type_that_json_cannot_hold_is_an_error():
    """Before anything is asked."""
    with pytest.raises(TypeError, match="cannot be written as JSON; use a dataclass"):
        await solve(Problem(asyncio.Event, near, closeness), KNOBS)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        (lambda state: "  ", ValueError, "text of 1 is blank"),
        (lambda state: state, TypeError, "text of 1 is a int"),
    ],
)
async def test_a_text_must_be_one(text, error, said):
    """A state whose text is that of another is refused."""
    with pytest.raises(error, match=said):
        await solve(numbers(text=text), KNOBS)


async def test_the_classic_search_is_for_replies():
    """The error names what can be used."""
    with pytest.raises(ValueError, match="'classic_uct' is for replies; expected"):
        await solve(numbers(), SearchKnobs(policy="classic_uct"))


async def test_knobs_without_a_policy_get_auto():
    """A cap alone is enough to begin with."""
    found = await solve(numbers(), SearchKnobs(max_calls=4))
    assert found.result.policy == "auto"
    assert found.calls <= 4


async def test_the_remaining_budget_binds():
    """The cap of a budget is asked before every round."""
    found = await solve(numbers(), KNOBS, remaining=lambda: RemainingCalls(max_calls=0))
    assert (found.calls, found.stop_reason) == (0, StopReason.BUDGET)


@pytest.mark.parametrize("policy", ["auto", "listwise", "posterior_uct", "halving"])
async def test_a_search_resumed_anywhere_ends_the_same(policy):
    """From the state kept before any round, as JSON."""
    knobs = SearchKnobs(policy=policy, max_calls=14, generate_k=3)
    kept = []
    whole = await solve(numbers(), knobs, checkpoint=lambda state: kept.append(json.dumps(state)))
    assert len(kept) == whole.rounds + 1
    for state in kept:
        again = await resume(numbers(), json.loads(state))
        assert again.best == whole.best
        assert again.search.state_dict() == whole.search.state_dict()


async def test_a_state_of_another_problem_is_refused():
    """Another start, another type, or no problem at all."""
    state = (await solve(numbers(), KNOBS)).search.state_dict()
    with pytest.raises(StateError, match="another start"):
        await resume(numbers(start=5), state)
    with pytest.raises(StateError, match="has a state of another type: "):
        await resume(Problem(Guess, near, closeness), state)
    for node in state["nodes"]:
        node["draft"]["payload"] = {}
    with pytest.raises(StateError, match="has no state"):
        await resume(numbers(), state)


@given(states=st.lists(st.text(), min_size=2, max_size=8))
def test_texts_that_differ_make_drafts_that_differ(states):
    """Unless they differ in outer space only, which no draft keeps."""
    drafts = StateDrafts(Problem(str, near, closeness, text=lambda state: f"state: {state!r}."))
    replies = [
        drafts.draft(state.encode("utf-8", "replace").decode(), source="test").reply
        for state in states
    ]
    texts = [state.encode("utf-8", "replace").decode() for state in states]
    assert len(set(replies)) == len(set(texts))


async def test_a_verifiers_scores_do_not_drift():
    """With `stop_score` 1 a score is what the judge said, however good its neighbours are."""
    found = await solve(numbers(), KNOBS)
    for node in found.result.tree.candidates:
        assert node.mean_score == pytest.approx(node.verdict.score)


async def test_a_full_score_stops_though_steps_lead():
    """An answer among many steps of the same score is seen."""

    def propose(walk, k, origin):
        return [Walk((*walk.digits, digit)) for digit in range(k)]

    problem = _walk_problem(propose=propose, judge=lambda walks, given: [1.0] * len(walks))
    knobs = SearchKnobs(
        policy="posterior_uct", max_calls=30, max_depth=3, stop_score=1.0, tree_exploration=0,
        generate_k=12, refine_k=12, max_passes=1,
    )  # fmt: skip
    found = await solve(problem, knobs)
    assert (found.stop_reason, found.is_answer) == (StopReason.EARLY_EXIT, True)
