"""A verifier apart from the judge: what it settles, what it costs, and when the search ends."""

import asyncio
import json
import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.problem import Problem
from lats.result import StateError, StopReason
from lats.search_text import render_tree
from lats.solving import resume, solve
from lats.state_search import StateSearch

POLICIES = ("auto", "best_of_n", "listwise", "halving", "posterior_uct")


class Down(Exception):
    """Error of a verifier that could not run."""


def draws(start, k, context):
    """Propose k numbers below 1,000 that follow from the place of the call alone."""
    drawn = random.Random(f"{start} {context.attempt}")
    return [drawn.randrange(1000) for _ in range(k)]


@dataclass
class Context:
    """Context of a first proposal."""

    attempt: int = 0


def play(problem, search):
    """Return the solution of a search that is answered by the problem's functions."""
    while requests := search.ask():
        for request in requests:
            search.tell(request, request.function(*request.arguments))
    return search.solution()


def counting(function):
    """Return a function, and the list of what it was called with."""
    calls = []

    def counted(*args):
        calls.append(args)
        return function(*args)

    return counted, calls


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_right_answer_ends_the_search(policy):
    """At no judge call, and with the calls before it alone."""
    found = await solve(
        Problem(int, draws, verify=lambda n: n % 25 == 0), policy=policy, max_calls=200
    )
    assert (found.best % 25, found.is_verified) == (0, True)
    assert (found.stop_reason, found.mean_score) == (StopReason.EARLY_EXIT, 1.0)
    assert found.confidence.chance_best == 1.0
    assert found.result.asked.keys() <= {"generate", "refine"}
    assert found.calls < 60


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_verifier_spends_the_cap_where_nothing_is_right(policy):
    """Candidates are not limited to what a noisy judge can tell apart."""
    found = await solve(Problem(int, draws, verify=lambda n: False), policy=policy, max_calls=40)
    assert (found.calls, found.stop_reason) == (40, StopReason.CAP)
    assert (found.is_verified, found.mean_score) == (False, 0.0)
    assert found.confidence.chance_best == 0.0


async def test_a_limit_of_candidates_that_was_given_counts_for_verifiers_too():
    """It is the caller's own."""
    problem = Problem(int, draws, verify=lambda n: False)
    found = await solve(problem, policy="best_of_n", max_calls=40, max_candidates=8)
    assert (found.calls, found.stop_reason) == (2, StopReason.PLAN_DONE)


async def test_generations_travel_with_no_more_than_were_asked_before():
    """Any of them may be the last that is needed."""
    under_way, most = 0, []

    async def propose(start, k, context):
        nonlocal under_way
        under_way += 1
        most.append(under_way)
        under_way -= 1
        return draws(start, k, context)

    found = await solve(
        Problem(int, propose, verify=lambda n: False), policy="best_of_n", max_calls=16
    )
    assert found.rounds == 5  # 1, 1, 2, 4, 8
    assert found.calls == 16


@pytest.mark.parametrize("policy", POLICIES)
async def test_shares_of_checks_are_scores_without_noise(policy):
    """The answer is the one that passed most, and no luck is removed from it."""
    seen = {}

    def verify(n):
        return seen.setdefault(n, n / 1000)

    found = await solve(Problem(int, draws, verify=verify), policy=policy, max_calls=12)
    assert found.best == max(seen)
    assert found.mean_score == seen[found.best]
    assert found.confidence.mean_score == pytest.approx(found.mean_score, abs=1e-6)
    assert found.confidence.chance_best == pytest.approx(1.0)


async def test_all_checks_passed_end_the_search_where_there_is_no_judge():
    """There is nothing to tell such answers apart."""
    found = await solve(Problem(int, draws, verify=lambda n: 1.0), max_calls=40)
    assert (found.calls, found.stop_reason) == (1, StopReason.EARLY_EXIT)
    assert found.is_verified is None


async def test_the_judge_reads_only_what_is_not_settled():
    """A settled state needs no opinion."""
    judge, calls = counting(lambda states, judge_pass: [0.5 + n / 2000 for n in states])
    settled = dict.fromkeys(range(0, 1000, 2), False)
    found = await solve(
        Problem(int, draws, judge, verify=settled.get), policy="listwise", max_calls=8
    )
    assert calls
    assert all(n % 2 for states, _ in calls for n in states)
    assert found.best % 2
    assert found.is_verified is None


async def test_a_refuted_state_is_the_answer_only_where_there_is_no_other():
    """However good the judge would find it."""
    problem = Problem(
        int,
        lambda start, k, context: [1, 2, 3, 4],
        lambda states, judge_pass: [n / 10 for n in states],
        verify=lambda n: None if n == 1 else False,
    )
    found = await solve(problem, policy="listwise", max_calls=4)
    assert (found.best, found.is_verified) == (1, None)
    every = Problem(int, problem.propose, problem.judge, verify=lambda n: False)
    found = await solve(every, policy="listwise", max_calls=4)
    assert found.is_verified is False


async def test_more_passed_checks_go_before_any_opinion():
    """The judge decides between those that passed equally many."""
    passed = {1: 0.5, 2: 0.75, 3: 0.75, 4: 0.25}
    problem = Problem(
        int,
        lambda start, k, context: list(passed),
        lambda states, judge_pass: [{1: 1.0, 2: 0.2, 3: 0.6, 4: 0.9}[n] for n in states],
        verify=passed.get,
    )
    found = await solve(problem, policy="listwise", max_calls=4)
    assert (found.best, found.is_verified) == (3, None)


async def test_where_every_answer_is_refuted_more_are_asked_for():
    """A plan that is done is no reason to answer with what is wrong."""
    problem = Problem(
        int, draws, lambda states, judge_pass: [0.5] * len(states), verify=lambda n: n > 900
    )
    found = await solve(problem, policy="listwise", max_calls=100)
    assert found.best > 900
    assert found.is_verified


@dataclass(frozen=True)
class Walk:
    """Steps towards an answer of three digits."""

    digits: tuple[int, ...] = ()


def steps(walk, k, context):
    """Propose every next digit."""
    return [Walk((*walk.digits, digit)) for digit in range(k)]


async def test_no_step_follows_from_a_refuted_one():
    """It leads nowhere, so nothing is asked of it."""
    propose, calls = counting(steps)
    found = await solve(
        Problem(
            Walk,
            propose,
            verify=lambda walk: (
                walk.digits == (3, 1, 2) if len(walk.digits) == 3 else
                (None if walk.digits == (3, 1, 2)[: len(walk.digits)] else False)
            ),
            is_answer=lambda walk: len(walk.digits) == 3,
            start=Walk(),
        ),
        policy="posterior_uct", max_calls=20, max_depth=3, generate_k=6, refine_k=6,
    )  # fmt: skip
    assert found.best == Walk((3, 1, 2))
    assert [walk.digits for walk, _, _ in calls] == [(), (3,), (3, 1)]


@pytest.mark.parametrize("result", [2, -0.1, "yes", [True], float("nan")])
async def test_what_is_no_result_is_an_error_and_the_state_is_kept(result):
    """The proposal was paid for."""
    with pytest.raises(ValueError, match=r"verify returned .*; return True, False") as raised:
        await solve(Problem(int, draws, verify=lambda n: result), max_calls=4)
    assert len(raised.value.search.tree) + len(raised.value.search.open_answers) > 0


@pytest.mark.parametrize("has_judge", [True, False])
async def test_drafts_are_verified_again_where_the_verifier_had_failed(has_judge):
    """By the resumed search, with no other call, and to the same end as if it had not failed."""
    is_down = [True]

    def verify(n):
        if is_down[0]:
            raise Down
        return n == draws(None, 6, Context())[3]

    propose, calls = counting(draws)
    judge = (lambda states, judge_pass: [n / 1000 for n in states]) if has_judge else None
    problem = Problem(int, propose, judge, verify=verify)
    kept = []
    with pytest.raises(Down) as raised:
        await solve(problem, max_calls=5, checkpoint=kept.append)
    assert "is kept and verified again" in "\n".join(raised.value.__notes__)
    state = json.loads(json.dumps(raised.value.search.state_dict()))
    assert state == kept[-1]
    with pytest.raises(Down):
        await resume(problem, state)
    is_down[0] = False
    again = await resume(problem, state)
    assert (again.is_verified, again.calls, len(calls)) == (True, 1, 1)
    plain = await solve(problem, max_calls=5)
    assert again.search.state_dict() == plain.search.state_dict()


async def test_a_lower_cap_keeps_drafts_that_wait_for_the_verifier():
    """They were paid for."""

    def verify(n):
        raise Down

    with pytest.raises(Down) as raised:
        await solve(Problem(int, draws, verify=verify), max_calls=5)
    state = raised.value.search.state_dict()
    found = await resume(Problem(int, draws, verify=lambda n: None), state, cap=0)
    assert (found.calls, found.stop_reason, len(found.result.tree)) == (1, StopReason.CAP, 4)
    state["unverified"]["generate:7"] = state["unverified"]["generate:0"]
    with pytest.raises(StateError, match="'generate:7' has drafts to verify"):
        await resume(Problem(int, draws, verify=verify), state)


async def test_a_cancelled_verifier_costs_no_proposal():
    """It is in the last checkpoint, and is verified by the resumed search."""
    kept, waits = [], asyncio.Event()

    async def verify(n):
        waits.set()
        await asyncio.Event().wait()

    propose, calls = counting(draws)
    problem = Problem(int, propose, verify=verify)
    task = asyncio.ensure_future(
        solve(problem, max_calls=3, checkpoint=lambda state: kept.append(json.dumps(state)))
    )
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    problem = Problem(int, propose, verify=lambda n: False)
    again = await resume(problem, json.loads(kept[-1]))
    assert len(calls) == again.calls == 3
    plain = await solve(problem, max_calls=3)
    assert again.search.state_dict() == plain.search.state_dict()


async def test_a_result_that_cannot_be_read_may_be_listed():
    """It settles nothing then."""
    problem = Problem(int, draws, verify=lambda n: float("nan"), failures=(ValueError,))
    found = await solve(problem, max_calls=2)
    assert (found.calls, found.is_verified) == (2, None)
    assert play(problem, StateSearch(problem, max_calls=2)).search.state_dict() == (
        found.search.state_dict()
    )


@pytest.mark.parametrize("part", ["propose", "judge", "verify"])
async def test_an_iterator_that_ends_fails_as_listed(part):
    """A coroutine would raise another error in its place."""
    parts = {
        "propose": draws, "judge": lambda states, judge_pass: [0.5] * len(states),
        "verify": lambda n: None,
    }  # fmt: skip
    problem = Problem(int, **parts | {part: lambda *args: next(iter([]))})
    with pytest.raises(RuntimeError, match="StopIteration"):
        await solve(problem, max_calls=3)
    found = await solve(replace(problem, failures=(StopIteration,)), max_calls=3)
    assert found.stop_reason is not None


async def test_a_verifier_that_fails_as_listed_settles_nothing():
    """The search goes on, and the judge decides."""

    def verify(n):
        raise Down

    judge = Problem(
        int, draws, lambda states, judge_pass: [n / 1000 for n in states],
        verify=verify, failures=(Down,),
    )  # fmt: skip
    found = await solve(judge, policy="listwise", max_calls=4)
    assert found.is_verified is None
    assert found.confidence.chance_best > 0.3


async def test_coroutine_verifiers_give_the_same_search():
    """Those of one answer run together."""

    async def verify(n):
        return n / 1000

    plain = await solve(Problem(int, draws, verify=lambda n: n / 1000), max_calls=9)
    awaited = await solve(Problem(int, draws, verify=verify), max_calls=9)
    assert awaited.search.state_dict() == plain.search.state_dict()


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_search_with_a_verifier_is_resumed_anywhere(policy):
    """Its results are in the state, so nothing is verified twice."""
    kept = []
    problem = Problem(int, draws, verify=lambda n: True if n == 981 else n / 1000)
    whole = await solve(
        problem,
        policy=policy,
        max_calls=12,
        checkpoint=lambda state: kept.append(json.dumps(state)),
    )
    for state in kept:
        again = await resume(problem, json.loads(state))
        assert again.search.state_dict() == whole.search.state_dict()
    with pytest.raises(StateError, match="has_judge=False, and here it is True"):
        await resume(
            Problem(int, draws, lambda s, p: s, verify=lambda n: True), json.loads(kept[0])
        )


@given(
    results=st.lists(st.sampled_from([True, False, None, 0.0, 0.25, 1.0]), min_size=8, max_size=8),
    has_judge=st.booleans(),
    policy=st.sampled_from(POLICIES),
    cap=st.integers(0, 12),
)
async def test_any_results_keep_the_promises(results, has_judge, policy, cap):
    """The cap is kept, a right answer wins, and a refuted one only where all are."""
    judge = (lambda states, judge_pass: [n / 8 for n in states]) if has_judge else None
    problem = Problem(
        int,
        lambda start, k, context: [(k * context.attempt + place) % 8 for place in range(k)],
        judge,
        verify=lambda n: results[n],
    )
    found = await solve(problem, policy=policy, max_calls=cap)
    assert found.calls <= cap
    seen = [results[int(node.draft.reply)] for node in found.result.tree.candidates]
    if not seen:
        assert (found.best, found.calls) == (None, 0)
        return
    assert (results[found.best] is True) == any(each is True for each in seen)
    assert (results[found.best] is False) == all(each is False for each in seen)
    assert render_tree(found.result).count("─ * ") == 1


@pytest.mark.parametrize(("cap", "stopped_by"), [(3, ("max_calls",)), (50, ())])
async def test_at_its_cap_a_search_is_not_called_exhausted(cap, stopped_by):
    """Though its last calls brought nothing: more calls might have."""
    problem = Problem(int, lambda state, k, context: [7], verify=lambda n: 0.5)
    found = await solve(problem, policy="listwise", max_calls=cap)
    assert found.stopped_by == stopped_by
