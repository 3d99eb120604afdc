"""Policies of a user's own: registration, states that need them, and what they may not do."""

import json
import random
import threading

import pytest
from pydantic import ValidationError

import lats
from lats.actions import Generate, JudgeList, Refine
from lats.answers import NodeId
from lats.policies import resume_search, start_search
from lats.policy_checks import PolicyError
from lats.policy_registry import policy_names, register_policy
from lats.ranking import ranked
from lats.result import StateError, StopReason
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.search_plan import plan_search
from lats.search_schedule import judge_round, unread


def two_and_judge(state, left):
    """Generate two candidates, judge them, and again, until the calls are spent."""
    fresh = unread(state)
    if fresh:
        return judge_round(state, fresh, left, passes=1) or StopReason.CAP
    return state.generate([2]) if left.fits(proposer=1, judge=1) else StopReason.CAP


def runner_up(state, ranking):
    """Return the second of the ranking, or the only one."""
    return ranking[min(1, len(ranking) - 1)]


def knobs(**changes):
    """Return knobs of the policy that the tests register."""
    return SearchKnobs(policy="mine", max_calls=6, **changes)


def test_a_registered_policy_runs_by_its_name(play, actions_model):
    """In knobs, in a plan, in a search, in its record; as long as it is registered."""
    with register_policy("mine", two_and_judge):
        search, rounds = play(PosteriorSearch(knobs()), actions_model())
        assert [[type(action) for action in each] for each in rounds] == [
            [Generate],
            [JudgeList],
        ] * 3
        assert search.result().record()["policy"] == "mine"
        assert plan_search(knobs()).calls == 6
        assert "mine" in policy_names()
    assert "mine" not in policy_names()
    with pytest.raises(ValidationError, match="policy"):
        knobs()


def test_its_pick_chooses_the_answer(play, actions_model):
    """After a resume as well."""
    with register_policy("mine", two_and_judge, runner_up):
        search, _ = play(
            PosteriorSearch(knobs()), actions_model(judge="perfect"), resume=random.Random(2)
        )
        state = search._state
        assert search.result().best is ranked(state, list(state.tree.candidates))[1]


def test_a_search_that_was_begun_goes_on_after_its_registration(play, actions_model):
    """It has the functions; only new ones need the name."""
    with register_policy("mine", two_and_judge):
        search = PosteriorSearch(knobs())
    _, rounds = play(search, actions_model())
    assert len(rounds) == 6


def test_unregister_ends_it_and_may_be_repeated():
    """So does leaving it by an exception."""
    registration = register_policy("mine", two_and_judge)
    registration.unregister()
    registration.unregister()
    with pytest.raises(KeyError), register_policy("mine", two_and_judge):
        raise KeyError
    assert "mine" not in policy_names()


def test_schema_and_pages_do_not_depend_on_registrations():
    """The same JSON schema before and after."""
    before = SearchKnobs.model_json_schema()
    with register_policy("mine", two_and_judge):
        assert SearchKnobs.model_json_schema() == before
        assert json.loads(knobs().model_dump_json())["policy"] == "mine"
        assert SearchKnobs.model_validate_json(knobs().model_dump_json()) == knobs()


@pytest.mark.parametrize("name", ["", "Mine", "my policy", "1st", "a" * 41, "x-y", None, 3])
def test_names_are_checked(name):
    """With the rule."""
    with pytest.raises(ValueError, match="use small letters"):
        register_policy(name, two_and_judge)


@pytest.mark.parametrize("name", ["classic_uct", "listwise", "auto"])
def test_built_in_policies_are_not_replaced(name):
    """Under no circumstances."""
    with pytest.raises(ValueError, match="built in"):
        register_policy(name, two_and_judge)


def test_a_name_is_registered_once():
    """A second time only after the first has ended."""
    with register_policy("mine", two_and_judge), pytest.raises(ValueError, match="unregister it"):
        register_policy("mine", two_and_judge)
    register_policy("mine", two_and_judge).unregister()


@pytest.mark.parametrize(
    ("functions", "words"),
    [
        (("no function",), "next_round is 'no function'"),
        ((lambda state: [],), r"next_round is called as next_round\(state, left\)"),
        ((two_and_judge, 7), "pick is 7"),
        ((two_and_judge, lambda: None), r"pick is called as pick\(state, ranking\)"),
    ],
)
def test_functions_are_checked_when_they_are_registered(functions, words):
    """With the signature that is wanted."""
    with pytest.raises(TypeError, match=words):
        register_policy("mine", *functions)
    assert "mine" not in policy_names()


def test_a_state_names_the_policy_that_it_needs(context):
    """And the error how to register it."""
    with register_policy("mine", two_and_judge):
        search = start_search(knobs(), context)
        search.ask()
        state = search.state_dict()
    for resume in (PosteriorSearch.from_state, resume_search):
        with pytest.raises(StateError, match=r"lats\.register_policy\('mine', next_round\)"):
            resume(state)
    with register_policy("mine", two_and_judge):
        assert resume_search(state).ask() == search.ask()


def judged_twice(state, left):
    """Return a call that reads one candidate twice."""
    node_id = next(state.tree.candidates).node_id
    return [JudgeList((node_id, node_id), state.progress.judge_calls)]


async def awaited(state, left):
    """Be a coroutine function, which a policy may not be."""
    return []


GARBAGE = {
    "nothing": (lambda state, left: None, "returned None"),
    "words": (lambda state, left: "cap", "returned 'cap'"),
    "coroutine": (awaited, "returned <coroutine"),
    "numbers": (lambda state, left: [1], "returned 1: no action"),
    "unknown": (
        lambda state, left: [JudgeList((NodeId("f" * 16),), state.progress.judge_calls)],
        "'ffffffffffffffff' is no candidate",
    ),
    "the start": (
        lambda state, left: [Refine((state.tree.top.node_id,), 2, 0)],
        "is no candidate",
    ),
    "no ids": (lambda state, left: [JudgeList((), state.progress.judge_calls)], "no candidate"),
    "twice in one": (judged_twice, "names a candidate twice"),
    "none wanted": (lambda state, left: state.generate([0]), "asks for 0 candidates"),
    "twice": (lambda state, left: [*state.generate([2]), *state.generate([2])], "asks again"),
    "an old one": (lambda state, left: [Generate(2, 0)], "asks again for 'generate:0'"),
}


@pytest.mark.parametrize("case", GARBAGE)
def test_what_is_no_round_is_an_error_and_nothing_is_lost(play, actions_model, case):
    """The search is as it was, can be saved, and goes on with a better policy."""
    garbage, words = GARBAGE[case]

    def after_a_while(state, left):
        if state.progress.rounds < 2:
            return two_and_judge(state, left)
        return garbage(state, left)

    with register_policy("mine", after_a_while):
        search = PosteriorSearch(knobs())
        with pytest.raises(PolicyError, match=words):
            play(search, actions_model())
        state = search.state_dict()
    assert search.result().calls == 2
    assert search.result().best is not None
    with register_policy("mine", two_and_judge):
        again, _ = play(PosteriorSearch.from_state(state), actions_model())
        whole, _ = play(PosteriorSearch(knobs()), actions_model())
    assert again.state_dict() == whole.state_dict()


def test_a_round_over_the_cap_is_cut(play, actions_model):
    """The first actions that fit are asked; a search never passes its cap."""
    with register_policy("mine", lambda state, left: state.generate([1] * 100)):
        search, rounds = play(PosteriorSearch(knobs()), actions_model())
    assert [len(each) for each in rounds] == [6]
    assert search.result().stop_reason is StopReason.CAP


def test_a_round_of_which_nothing_fits_ends_the_search(play, actions_model):
    """Where the budget has no call for its kind."""
    left = lats.RemainingCalls(max_proposer_calls=0)
    with register_policy("mine", lambda state, left: state.generate([1])):
        search, rounds = play(PosteriorSearch(knobs()), actions_model(), remaining_calls=[left])
    assert rounds == []
    assert search.result().stop_reason is StopReason.BUDGET


def test_no_further_plan_ends_the_search(play, actions_model):
    """An empty list."""

    def once(state, left):
        return [] if len(state.tree) else state.generate([2])

    with register_policy("mine", once):
        search, _ = play(PosteriorSearch(knobs()), actions_model())
    assert search.result().stop_reason is StopReason.PLAN_DONE


def test_a_policy_that_raises_reaches_the_caller(play, actions_model):
    """With its own exception; nothing was counted."""

    def broken(state, left):
        raise LookupError("a defect")

    with register_policy("mine", broken):
        search = PosteriorSearch(knobs())
        with pytest.raises(LookupError, match="a defect"):
            search.ask()
    assert search.result().calls == 0


@pytest.mark.parametrize("pick", [lambda state, ranking: None, lambda state, ranking: "a"])
def test_a_pick_of_no_candidate_is_an_error(play, actions_model, pick):
    """By name."""
    with register_policy("mine", two_and_judge, pick):
        search, _ = play(PosteriorSearch(knobs()), actions_model())
        with pytest.raises(PolicyError, match="policy 'mine' picked"):
            search.result()


def test_threads_register_and_run_side_by_side(play, actions_model):
    """Each under its name."""
    done = []

    def run(name):
        with register_policy(name, two_and_judge):
            search, _ = play(
                PosteriorSearch(SearchKnobs(policy=name, max_calls=6)), actions_model()
            )
            done.append(search.result().calls)

    threads = [threading.Thread(target=run, args=(f"mine_{place}",)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [6] * 8
