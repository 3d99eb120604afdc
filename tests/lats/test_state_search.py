"""A search by `ask` and `tell` over a user's own states."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.policy import RemainingCalls
from lats.problem import Problem
from lats.result import StateError
from lats.solving import resume, solve, solve_sync
from lats.spending import Priced
from lats.state_search import StateSearch


class Down(Exception):
    """An error that a problem may list."""


def draws(start, k, context):
    """Propose k numbers below 1,000 that follow from the place of the call alone."""
    drawn = random.Random(f"{start} {context.attempt}")
    return [drawn.randrange(1000) for _ in range(k)]


def size(states, judge_pass):
    """Score numbers by their size."""
    return [n / 1000 for n in states]


def sized(**changes):
    """Return the problem of finding a large number."""
    parts = {"propose": draws, "judge": size, **changes}
    return Problem(int, parts.pop("propose"), parts.pop("judge"), **parts)


def play(problem, search, *, order=None, saves=None):
    """Answer a search to its end, in some order, saved and loaded after some of the results."""
    while requests := search.ask():
        if order:
            order.shuffle(requests)
        for request in requests:
            search.tell(request, request.function(*request.arguments))
            if saves and saves.random() < 0.5:
                search = StateSearch(problem, state=json.loads(json.dumps(search.state_dict())))
                break
    return search


PROBLEMS = {
    "judge": sized(),
    "proposers": sized(propose={"a": draws, "b": lambda *args: [1, 2]}),
    "verifier": sized(judge=None, verify=lambda n: n == 999 or n / 1000),
    "both": sized(verify=lambda n: False if n > 500 else None),
    "priced": sized(propose=lambda *args: Priced(draws(*args), tokens=7, usd=0.1, calls=2)),
    "steps": sized(is_answer=lambda n: n > 900, key=lambda n: n // 2),
}


@pytest.mark.parametrize("policy", ["auto", "listwise", "posterior_uct"])
@given(name=st.sampled_from(sorted(PROBLEMS)), seed=st.integers(0, 99), is_saved=st.booleans())
def test_it_is_the_search_of_solve(policy, name, seed, is_saved):
    """In any order inside a round, and saved anywhere."""
    problem = PROBLEMS[name]
    wanted = solve_sync(problem, policy=policy, max_calls=9)
    order = random.Random(seed)
    search = play(
        problem,
        StateSearch(problem, policy=policy, max_calls=9),
        order=order,
        saves=order if is_saved else None,
    )
    assert search.state_dict() == wanted.search.state_dict()
    found = search.solution()
    assert (found.best, found.stop_reason, found.tokens) == (
        wanted.best, wanted.stop_reason, wanted.tokens,
    )  # fmt: skip


def test_a_search_under_way_has_a_solution():
    """The best so far, and no reason to have stopped."""
    search = StateSearch(sized(), policy="posterior_uct", max_calls=9)
    assert search.solution().best is None
    for _ in range(2):
        for request in search.ask():
            search.tell(request.action_id, request.function(*request.arguments))
    found = search.solution()
    proposed = [int(node.draft.reply) for node in found.search.tree.candidates]
    assert (found.best, found.stop_reason) == (max(proposed), None)


def test_a_second_result_is_ignored():
    """Of a round under way, and of one that is over."""
    search = StateSearch(sized(), policy="best_of_n", max_calls=3)
    first, second = search.ask()
    search.tell(first, [1])
    search.tell(first, [2])
    assert search.ask() == [second]
    search.tell(second, [3])
    search.tell(first, [4])
    states = search.ask()[0].arguments[0]
    assert sorted(states) == [1, 3]


def test_telling_asks_for_nothing():
    """The budget is read where calls are asked for, and nowhere else."""
    search = StateSearch(sized(), policy="best_of_n", max_calls=3)
    requests = search.ask()
    for request in requests:
        search.tell(request, request.function(*request.arguments))
    search.tell(requests[0], [1])
    search.state_dict()
    assert search.ask(RemainingCalls(0)) == []
    assert search.solution().stopped_by == ("remaining",)


@pytest.mark.parametrize(
    ("result", "error", "words"),
    [
        ("text", TypeError, "propose returned 'text', expected states in a list"),
        ([{}], TypeError, r"propose gave \{\}, no state of int"),
        (Down("x"), Down, "x"),
    ],
)
def test_what_is_no_result_is_an_error_and_the_call_stays_asked(result, error, words):
    """Another result can be told."""
    search = StateSearch(sized(), max_calls=2)
    (request,) = search.ask()
    with pytest.raises(error, match=words):
        search.tell(request, result)
    assert search.ask() == [request]
    search.tell(request, [1])


def test_what_must_be_awaited_is_an_error():
    """A search that makes no call awaits none."""

    async def propose(state, k, context):
        return [1]

    search = StateSearch(sized(propose=propose), max_calls=2)
    (request,) = search.ask()
    coroutine = request.function(*request.arguments)
    with pytest.raises(TypeError, match="must be awaited first"):
        search.tell(request, coroutine)
    coroutine.close()

    async def verify(n):
        return True

    with pytest.raises(TypeError, match="verify is the coroutine function"):
        StateSearch(sized(verify=verify), max_calls=2)


def test_an_exception_that_is_listed_is_a_failure():
    """Told in place of a result."""
    search = StateSearch(sized(failures=(Down,)), policy="best_of_n", max_calls=3)
    request, *others = search.ask()
    search.tell(request, Down("gone"))
    assert search.ask() == others
    for other in others:
        search.tell(other, draws(*other.arguments))
    assert search.solution().result.failed == {"generate": 1}


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"cap": 3}, TypeError, "cap is for a saved `state`"),
        ({"state": {}, "max_calls": 3}, TypeError, "a saved `state` has its knobs"),
        ({"state": {}}, StateError, "no state of a search"),
    ],
)
def test_what_contradicts_itself_is_an_error(given, error, words):
    """Before anything is asked."""
    with pytest.raises(error, match=words):
        StateSearch(sized(), **given)
    with pytest.raises(TypeError, match="problem is 3"):
        StateSearch(3)
    with pytest.raises(ValueError, match="nothing was asked with the id 'x'"):
        StateSearch(sized()).tell("x", [1])


@pytest.mark.parametrize("is_saved", [True, False])
def test_a_verifier_that_raises_leaves_the_round_as_it_is(is_saved):
    """The next `ask` verifies again, also after the search is saved and loaded."""
    is_down = [True]

    def verify(n):
        if is_down[0]:
            raise Down("down")
        return n / 1000

    problem = sized(verify=verify)
    search = StateSearch(problem, policy="best_of_n", max_calls=6)
    first, *others = search.ask()
    for other in others:
        search.tell(other, draws(*other.arguments))
    for _ in range(2):
        with pytest.raises(Down):
            search.tell(first, draws(*first.arguments))
    if is_saved:
        search = StateSearch(problem, state=json.loads(json.dumps(search.state_dict())))
    with pytest.raises(Down):
        search.ask()
    assert search.solution().stop_reason is None
    is_down[0] = False
    found = play(problem, search).solution()
    plain = solve_sync(problem, policy="best_of_n", max_calls=6)
    assert found.search.state_dict() == plain.search.state_dict()


async def test_it_goes_on_where_solve_ended():
    """And the other way round, under another cap."""
    ended = await solve(sized(), policy="listwise", max_calls=6)
    search = play(sized(), StateSearch(sized(), state=ended.search.state_dict(), cap=10))
    assert search.solution().calls == 10
    assert (await resume(sized(), search.state_dict(), cap=12)).calls == 12
