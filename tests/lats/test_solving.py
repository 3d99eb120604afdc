"""Solving: knobs by name, callers that cannot await, resumption, limits, many problems."""

import _thread
import asyncio
import dataclasses
import functools
import json
import math
import random
import re
import signal
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.policy import RemainingCalls
from lats.policy_registry import register_policy
from lats.problem import Problem
from lats.result import StopReason, in_scale
from lats.search_knobs import SearchKnobs
from lats.search_text import render_tree
from lats.similarity import identity_key
from lats.solving import resume, solve, solve_all, solve_sync
from lats.spending import Priced


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
    parts = {"propose": draws, "judge": size} | changes
    return Problem(int, parts.pop("propose"), parts.pop("judge"), **parts)


def refuse(*args):
    """Refuse a call."""
    raise Down


PRICED = {
    "propose": lambda *args: Priced(draws(*args), tokens=1, usd=0.25),
    "judge": lambda *args: Priced(size(*args), tokens=1, usd=0.25),
}
"""Functions that return what they took."""


async def test_knobs_are_given_by_their_names():
    """In place of those of `knobs`; where neither has a policy it is `auto`."""
    found = await solve(sized(), max_calls=4, seed=3)
    assert (found.result.policy, found.calls) == ("auto", 4)
    found = await solve(sized(), SearchKnobs(max_calls=9, generate_k=2), max_calls=2)
    assert (found.result.policy, found.calls) == ("auto", 2)
    found = await solve(sized(), SearchKnobs(policy="listwise"), max_calls=3)
    assert found.result.policy == "listwise"
    assert (await solve(sized())).calls == 6


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"max_call": 3}, TypeError, "called 'max_call'; did you mean 'max_calls'"),
        ({"zzz": 3}, TypeError, "called 'zzz'; docs/knobs.md lists"),
        ({"max_calls": -1}, ValueError, "max_calls is -1: .* greater than or equal to 0"),
        ({"policy": "mcts"}, ValueError, "policy is 'mcts'"),
        ({"policy": "classic_uct"}, ValueError, "for replies; expected one of best_of_n, listwise"),
        ({"knobs": {"max_calls": 3}}, TypeError, "knobs is {'max_calls': 3}; give SearchKnobs"),
        ({"max_usd": -1}, ValueError, "max_usd is -1; give a number from 0 on"),
        ({"max_tokens": math.nan}, ValueError, "max_tokens is nan"),
        ({"max_usd": "1"}, ValueError, "max_usd is '1'"),
        ({"max_concurrency": 0}, ValueError, "max_concurrency is 0; give at least 1"),
        ({"max_concurrency": "8"}, TypeError, "max_concurrency is '8'; give a whole number"),
        (
            {"remaining": 3},
            TypeError,
            r"remaining is 3 \(type int\); give a function remaining",
        ),
        (
            {"calibration": "chances.json"},
            TypeError,
            r"calibration is 'chances.json'; .* lats.load_calibration\(path\)",
        ),
        (
            {"calibration": {"a": 1}},
            TypeError,
            "calibration is {'a': 1}; give a lats.ChanceCalibration",
        ),
        ({"remaining": lambda: 5}, TypeError, "remaining returned 5; return lats.RemainingCalls"),
        ({"checkpoint": print}, None, ""),
        ({"checkpoint": lambda: None}, TypeError, r"called as checkpoint\(state\) -> nothing, but"),
    ],
)
async def test_options_that_cannot_be_followed_are_an_error(options, error, words):
    """Before anything is asked."""
    asked = []
    problem = sized(propose=lambda state, k, context: asked.append(k) or [1])
    if error is None:
        await solve(problem, **options)
        return
    with pytest.raises(error, match=words):
        await solve(problem, **options)
    assert not asked


async def test_a_cap_of_0_asks_nothing():
    """And has no answer."""
    found = await solve(sized(), max_calls=0)
    assert (found.best, found.calls, found.stop_reason) == (None, 0, StopReason.CAP)


async def test_what_is_no_problem_is_an_error():
    """With how one is made, also where a search is resumed."""
    with pytest.raises(TypeError, match=r"problem is 'x'; give lats.Problem\(state_type"):
        await solve("x")
    with pytest.raises(TypeError, match="problem is 7"):
        await resume(7, {})


@given(seed=st.integers(0, 99), policy=st.sampled_from(["auto", "listwise", "posterior_uct"]))
async def test_a_mean_score_stays_in_the_scale(seed, policy):
    """Though the drift that is removed from a judge's calls may lead out of it."""

    def judge(states, judge_pass):
        drawn = random.Random(f"{seed} {judge_pass.number}")
        return [drawn.choice([1, 5]) for _ in states]

    found = await solve(sized(judge=judge, score_range=(1, 5)), policy=policy, max_calls=9)
    assert 1 <= found.mean_score <= 5
    assert 1 <= found.confidence.mean_score <= 5
    assert in_scale(1.2, (1, 5)) == 5
    assert in_scale(-0.2, (1, 5)) == 1


@pytest.mark.parametrize(
    ("changes", "options", "stopped_by"),
    [
        ({}, {"max_calls": 5}, ("max_calls",)),
        ({}, {"policy": "best_of_n", "max_calls": 9, "max_candidates": 4}, ("max_candidates",)),
        (
            {}, {"max_calls": 40, "max_candidates": 4, "max_passes": 2, "refine": False},
            ("max_candidates", "max_passes", "refine"),
        ),
        ({"propose": lambda *args: [7]}, {"policy": "best_of_n", "max_calls": 9}, ()),
        ({}, {"max_calls": 9, "min_gain": 1.0}, ("min_gain",)),
        ({}, {"max_calls": 9, "stop_score": 0.1}, ("stop_score",)),
        ({"verify": lambda n: n > 10}, {"max_calls": 9}, ("verify",)),
        (
            {"is_answer": lambda n: False, "propose": lambda *args: [7]},
            {"policy": "posterior_uct", "max_depth": 1},
            ("max_depth",),
        ),
        (
            {"judge": refuse, "refusals": (Down,)}, {"policy": "posterior_uct", "max_calls": 9},
            ("refusals",),
        ),
        ({}, {"max_calls": 9, "remaining": lambda: RemainingCalls(0)}, ("remaining",)),
        ({}, {"max_calls": 9, "remaining": lambda: RemainingCalls(is_late=True)}, ("remaining",)),
        (PRICED, {"max_calls": 9, "max_tokens": 2}, ("max_tokens",)),
        (PRICED, {"max_calls": 9, "max_usd": 0.5, "max_tokens": 900}, ("max_usd",)),
        ({}, {"max_calls": 0}, ("max_calls",)),
    ],
)  # fmt: skip
async def test_a_search_names_what_stopped_it(changes, options, stopped_by):
    """Another value of any of these would have let it go on."""
    assert (await solve(sized(**changes), **options)).stopped_by == stopped_by


def test_a_script_needs_no_loop():
    """The solution is that of `solve`."""
    found = solve_sync(sized(), max_calls=4, seed=1)
    assert found.best == asyncio.run(solve(sized(), max_calls=4, seed=1)).best


async def test_inside_a_running_loop_it_runs_in_a_thread():
    """As in a notebook; errors arrive as they are."""
    found = solve_sync(sized(), SearchKnobs(policy="listwise"), max_calls=4)
    assert found.calls == 4
    with pytest.raises(TypeError, match="did you mean"):
        solve_sync(sized(), max_call=4)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("wakes", [True, False])
def test_an_interrupt_ends_the_search_of_another_thread(wakes, raised):
    """Where a loop runs already; the answers so far are in its last checkpoint.

    An interrupt that comes just before the main thread sleeps does not wake it, like one
    that is no signal of the system.
    """
    kept, asked = [], []

    def handler(number, frame):
        raise raised

    async def judge(states, judge_pass):
        asked.append(judge_pass.number)
        if wakes:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        else:
            _thread.interrupt_main()
        return await asyncio.Event().wait()

    async def cell():
        solve_sync(sized(judge=judge), max_calls=9, max_concurrency=1, checkpoint=kept.append)

    before = signal.signal(signal.SIGINT, handler)
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(raised):
            loop.run_until_complete(cell())
    finally:
        signal.signal(signal.SIGINT, before)
        loop.close()
    assert asked == [0]
    assert len(kept[-1]["nodes"]) > 1
    assert not [each for each in threading.enumerate() if each.name.startswith("lats-solve")]


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
async def test_a_checkpoint_may_be_awaited(kind):
    """It is given the state before each round and at the end."""
    kept = []

    async def keep(state):
        await asyncio.sleep(0)
        kept.append(state)

    found = await solve(
        sized(), max_calls=4, checkpoint=keep if kind == "coroutine" else kept.append
    )
    assert len(kept) == found.rounds + 1
    assert kept[-1] == found.search.state_dict()


class TestScale:
    """Rewards on a scale of the task's own."""

    @given(
        low=st.floats(-1e6, 1e6),
        width=st.floats(1e-3, 1e6),
        policy=st.sampled_from(["auto", "listwise", "posterior_uct"]),
    )
    async def test_a_scale_changes_nothing_but_the_figures(self, low, width, policy):
        """The same candidates are asked and chosen, and figures come back in it."""
        high = low + width

        def judge(states, judge_pass):
            return [low + n / 1000 * width for n in states]

        plain = await solve(sized(), policy=policy, max_calls=8)
        scaled = await solve(
            sized(judge=judge, score_range=(low, high)), policy=policy, max_calls=8
        )
        assert [node.draft.reply for node in scaled.result.tree.candidates] == [
            node.draft.reply for node in plain.result.tree.candidates
        ]
        tolerance = {"abs": 1e-6 * width + 1e-6 * abs(low), "rel": 1e-6}
        assert scaled.mean_score == pytest.approx(low + plain.mean_score * width, **tolerance)
        mean = scaled.confidence.mean_score
        assert mean == pytest.approx(low + plain.confidence.mean_score * width, **tolerance)
        assert scaled.confidence.sd == pytest.approx(plain.confidence.sd * width, **tolerance)

    async def test_a_drawing_and_a_proposer_read_the_tasks_scale(self):
        """From 0 to 10, say."""
        given = []

        def propose(state, k, context):
            given.extend(leader.mean_score for leader in context.leaders)
            return draws(state, k, context)

        problem = sized(
            propose=propose,
            judge=lambda states, judge_pass: [n / 100 for n in states],
            score_range=(0, 10),
        )
        found = await solve(problem, policy="posterior_uct", max_calls=8)
        assert given
        assert max(given) > 1
        assert f" {found.confidence.mean_score:.2f} ±" in render_tree(found.result)
        again = await resume(problem, found.search.state_dict())
        assert render_tree(again.result) == render_tree(found.result)

    @pytest.mark.parametrize("score", [10.5, -1, math.inf])
    async def test_a_score_outside_of_it_is_an_error(self, score):
        """It names the value and the range, and how another one is declared."""
        problem = sized(judge=lambda states, given: [score] * len(states), score_range=(0, 10))
        with pytest.raises(ValueError, match=rf"{score}.*in \[0, 10\].*score_range=\(worst, best"):
            await solve(problem, max_calls=2)

    async def test_a_mapping_is_a_score_with_what_was_said(self):
        """As a model writes it; scores and attributes in the task's scale."""
        said = {"score": 7, "reason": "short", "attributes": {"fit": 3}, "checks": {"runs": True}}
        problem = sized(judge=lambda states, given: [said] * len(states), score_range=(1, 11))
        found = await solve(problem, policy="best_of_n", max_calls=2)
        verdict = found.result.best.verdict
        assert (verdict.score, verdict.reason) == (0.6, "short")
        assert (verdict.attributes, verdict.checks) == ({"fit": 0.2}, {"runs": True})
        assert found.mean_score == pytest.approx(7)

    @pytest.mark.parametrize(
        ("said", "words"),
        [
            ({"Score": 1}, "mapping with 'Score'; expected keys are score, attributes"),
            ({"score": "1"}, "scored '.*' '1'; expected a figure"),
            ({"score": 1, "reason": None}, "the reason None; give a str"),
            ({"score": 1, "checks": [True]}, "checks that are no mapping"),
        ],
    )
    async def test_mappings_that_cannot_be_read_are_an_error(self, said, words):
        """Rather than a score that is missing."""
        with pytest.raises((TypeError, ValueError), match=words):
            await solve(sized(judge=lambda states, given: [said] * len(states)), max_calls=2)


class TestResumption:
    """A search that goes on, under the same cap or another."""

    @pytest.mark.parametrize("policy", ["auto", "listwise", "best_of_n", "posterior_uct"])
    @pytest.mark.parametrize("cap", [8, 14])
    async def test_more_cap_goes_on(self, policy, cap):
        """No call is made twice, and none past the new cap."""
        first = await solve(sized(), policy=policy, max_calls=4)
        calls = []

        def judge(states, judge_pass):
            calls.append(judge_pass.number)
            return size(states, judge_pass)

        again = await resume(sized(judge=judge), first.search.state_dict(), cap=cap)
        assert first.calls <= again.calls <= cap
        assert len(calls) == len(set(calls))
        assert set(calls).isdisjoint(range(first.result.asked.get("judge_list", 0)))
        if policy != "best_of_n":  # a plan that is done
            assert again.calls > first.calls

    async def test_less_cap_than_was_spent_asks_nothing(self):
        """From any checkpoint, also in the middle of a round."""
        kept = []
        await solve(
            sized(), policy="listwise", max_calls=10,
            checkpoint=lambda state: kept.append(json.dumps(state)),
        )  # fmt: skip
        silent = sized(
            propose=lambda state, k, context: pytest.fail("asked"),
            judge=lambda states, judge_pass: pytest.fail("asked"),
        )
        for state in kept:
            again = await resume(silent, json.loads(state), cap=0)
            assert again.stop_reason is StopReason.CAP
        last = await resume(silent, json.loads(kept[-1]), cap=3)
        assert last.best is not None

    @given(
        cap=st.integers(0, 16),
        place=st.integers(0, 4),
        policy=st.sampled_from(["auto", "listwise", "posterior_uct"]),
    )
    async def test_no_cap_is_passed(self, cap, place, policy):
        """Whatever was spent before: then no further call is made."""
        kept, asked = [], []
        await solve(
            sized(), policy=policy, max_calls=10,
            checkpoint=lambda state: kept.append(json.dumps(state)),
        )  # fmt: skip
        state = json.loads(kept[min(place, len(kept) - 1)])
        open_calls = len(state["progress"]["open_round"])
        before = state["progress"]["spent_calls"] - open_calls

        def judge(states, judge_pass):
            asked.append(1)
            return size(states, judge_pass)

        def propose(state, k, context):
            asked.append(1)
            return draws(state, k, context)

        await resume(sized(propose=propose, judge=judge), state, cap=cap)
        assert before + len(asked) <= max(cap, before)

    async def test_a_refused_search_goes_on_under_a_cap(self):
        """Once there is budget again."""

        def judge(states, judge_pass):
            raise Down

        problem = sized(judge=judge, refusals=(Down,))
        first = await solve(problem, policy="listwise", max_calls=6)
        assert first.stop_reason is StopReason.BUDGET
        again = await resume(sized(), first.search.state_dict(), cap=10)
        assert again.confidence is not None

    @pytest.mark.parametrize("cap", [-1, 2.5, math.inf, math.nan, [1], 6.0, True, "6"])
    async def test_what_is_no_cap_is_an_error(self, cap):
        """It names the value."""
        state = (await solve(sized(), max_calls=2)).search.state_dict()
        with pytest.raises(ValueError, match=re.escape(f"cap is {cap!r}; give a whole number")):
            await resume(sized(), state, cap=cap)


class TestKeys:
    """States that are one whatever their texts."""

    async def test_a_key_is_in_the_draft(self):
        """As JSON, so that a number and its digits differ."""
        problem = Problem(
            str, lambda state, k, context: ["Uber", "uber."],
            lambda states, judge_pass: [0.5] * len(states), text=str, key=identity_key,
        )  # fmt: skip
        found = await solve(problem, max_calls=2)
        assert {node.draft.key for node in found.result.tree.candidates} == {'"uber"'}

    async def test_what_is_no_key_is_an_error(self):
        """It has to be written as JSON."""
        with pytest.raises(TypeError, match=r"key of .* is <object .*return a str, a number"):
            await solve(sized(key=lambda n: object()), max_calls=2)

    @pytest.mark.parametrize(
        "key", [None, math.nan, frozenset({1, 2}), (1, frozenset({1, 2})), (1, (math.nan,))]
    )
    async def test_what_is_not_equal_to_itself_is_no_key(self, key):
        """Nor what is written in one order or another, or is not there."""
        with pytest.raises(TypeError, match="return a str, a number or a tuple of them, such as"):
            await solve(sized(key=lambda n: key), max_calls=2)
        assert (await solve(sized(key=lambda n: (n, None)), max_calls=2)).best is not None


class TestSpending:
    """Limits in tokens and USD."""

    @staticmethod
    def priced(proposal=(100, 0.01), judgement=(10, 0.001), **changes):
        """Return a problem whose calls have these prices."""
        return sized(
            propose=lambda *args: Priced(draws(*args), *proposal),
            judge=lambda *args: Priced(size(*args), *judgement),
            **changes,
        )

    async def test_amounts_are_summed(self):
        """By the answers of all calls."""
        found = await solve(self.priced(), policy="listwise", max_calls=4)
        asked = found.result.asked
        tokens = 100 * asked["generate"] + 10 * asked["judge_list"]
        assert (found.tokens, found.usd) == (tokens, pytest.approx(tokens / 10_000))
        assert (await solve(sized(), max_calls=4)).tokens == 0

    @given(
        limit=st.integers(0, 2000),
        proposal=st.integers(0, 300),
        judgement=st.integers(0, 300),
        policy=st.sampled_from(["auto", "best_of_n", "listwise", "posterior_uct"]),
        cap=st.integers(0, 20),
    )
    async def test_a_limit_is_passed_by_one_call_at_most(
        self, limit, proposal, judgement, policy, cap
    ):
        """Of one price a side: the first call of a side goes alone, others are reserved."""
        found = await solve(
            self.priced((proposal, 0), (judgement, 0)),
            policy=policy, max_calls=cap, max_tokens=limit, max_candidates=64,
        )  # fmt: skip
        assert found.calls <= cap
        assert found.tokens <= limit + max(proposal, judgement)
        if limit == 0:
            assert (found.calls, found.stop_reason) == (0, StopReason.BUDGET if cap else "cap")

    async def test_a_wide_round_of_unknown_price_is_cut_to_the_limit(self):
        """Its first call goes alone, and one judge call is kept for what it brings."""
        asked = []

        def propose(*args):
            asked.append(args[2].attempt)
            return Priced(draws(*args), tokens=100)

        problem = sized(propose=propose, judge=lambda *args: Priced(size(*args), tokens=100))
        found = await solve(
            problem, policy="best_of_n", max_calls=40, max_candidates=64, max_tokens=500
        )
        assert asked == [0, 1, 2, 3]
        assert (found.tokens, found.stopped_by) == (500, ("max_tokens",))
        assert found.confidence is not None

    async def test_a_failed_call_is_no_price(self):
        """The next one goes alone in its place."""

        def propose(*args):
            if args[2].attempt < 2:
                raise Down
            return Priced(draws(*args), tokens=100)

        problem = sized(
            propose=propose, judge=lambda *args: Priced(size(*args), tokens=100), failures=(Down,)
        )
        found = await solve(
            problem, policy="best_of_n", max_calls=40, max_candidates=64, max_tokens=300
        )
        assert found.tokens <= 300
        assert len(found.result.tree) > 4

    async def test_known_prices_are_reserved(self):
        """After the first round nothing is asked that does not fit."""
        found = await solve(self.priced(), policy="posterior_uct", max_calls=100, max_tokens=560)
        assert found.tokens <= 560
        assert found.stop_reason is StopReason.BUDGET
        assert found.calls >= 9

    async def test_the_last_of_a_limit_goes_to_judging(self):
        """A proposal that no judge could read is not bought."""
        found = await solve(self.priced(), policy="posterior_uct", max_calls=100, max_tokens=325)
        asked = found.result.asked
        assert found.tokens <= 325
        assert asked["generate"] + asked["refine"] == 2

    async def test_what_was_spent_before_counts_after_a_resumption(self):
        """The limit is of the whole search."""
        first = await solve(self.priced(), policy="posterior_uct", max_calls=4)
        again = await resume(
            self.priced(), json.loads(json.dumps(first.search.state_dict())), cap=100, max_usd=0.03
        )
        assert first.usd < again.usd <= 0.03

    async def test_calls_that_are_not_made_do_not_count(self):
        """A limit that is raised is spent on them, under the same cap."""
        calls = []

        def propose(*args):
            calls.append(args[2].attempt)
            return Priced(draws(*args), usd=0.1)

        problem = sized(propose=propose, judge=lambda *args: Priced(size(*args), usd=0.1))
        first = await solve(problem, policy="listwise", max_calls=7, max_usd=0.3)
        assert (first.calls, first.stopped_by) == (3, ("max_usd",))
        assert first.result.failed == {}
        state = json.loads(json.dumps(first.search.state_dict()))
        assert state["progress"]["spent_calls"] == 3
        same = await resume(problem, state, max_usd=0.3)
        assert (same.calls, same.stopped_by) == (3, ("max_usd",))
        for options in ({"max_usd": 1}, {"cap": 7}):
            del calls[2:]
            again = await resume(problem, state, **options)
            assert (again.calls, again.stop_reason) == (7, StopReason.CAP)
            assert calls == list(range(len(calls)))
        assert (await resume(problem, state)).calls == 3

    async def test_a_round_that_is_asked_again_keeps_the_limit(self):
        """Calls of it that do not fit any more are not made."""
        problem, kept = self.priced(), []
        await solve(
            problem, policy="listwise", max_calls=8,
            checkpoint=lambda state: kept.append(json.dumps(state)),
        )  # fmt: skip
        for state in map(json.loads, kept[:-1]):
            sides = state.get("spend", {"by_side": {}})["by_side"].values()
            spent = sum(each["tokens"] for each in sides)
            found = await resume(problem, state, max_tokens=spent)
            assert found.tokens == spent
            assert (found.stop_reason, found.stopped_by) == (StopReason.BUDGET, ("max_tokens",))

    @pytest.mark.parametrize("result", [[0.5], 7, iter([ZeroDivisionError])])
    async def test_a_result_that_cannot_be_read_has_its_price(self, result):
        """Each time that it is asked for, until the limit is used up."""
        calls = []

        def judge(states, judge_pass):
            calls.append(judge_pass.number)
            given = (1 / 0 for _ in states) if hasattr(result, "__next__") else result
            return Priced(given, tokens=1000)

        problem = self.priced(proposal=(10, 0))
        problem = dataclasses.replace(problem, judge=judge)
        errors = (ValueError, TypeError, ZeroDivisionError)
        with pytest.raises(errors) as raised:
            await solve(problem, policy="posterior_uct", max_calls=3, max_tokens=3100)
        state = raised.value.search.state_dict()
        for made in (1, 2):
            assert len(calls) == made
            assert raised.value.search.spend.tokens == 1000 * made + 10
            with pytest.raises(errors) as raised:
                await resume(problem, state, max_tokens=3100)
            state = raised.value.search.state_dict()
        found = await resume(problem, state, max_tokens=3100)
        assert (len(calls), found.tokens, found.stopped_by) == (3, 3010, ("max_tokens",))
        listed = dataclasses.replace(problem, failures=errors)
        found = await solve(listed, policy="posterior_uct", max_calls=3, max_tokens=3100)
        asked = found.result.asked
        assert found.tokens == 10 * asked["generate"] + 1000 * asked["judge_list"]

    async def test_a_limit_needs_prices(self):
        """A result without one is an error that shows how."""
        with pytest.raises(TypeError, match=r"propose returned .* return lats.Priced\(states, tok"):
            await solve(sized(), max_calls=4, max_usd=1.0)

    async def test_repairs_count_against_the_cap(self):
        """A result that took three requests is three calls."""
        problem = sized(judge=lambda *args: Priced(size(*args), calls=3))
        found = await solve(problem, policy="posterior_uct", max_calls=9, parallel_leaves=1)
        assert found.search.state_dict()["progress"]["spent_calls"] <= 9 + 2
        assert found.calls < 9

    @pytest.mark.parametrize(
        "amounts",
        [
            {"tokens": -1},
            {"usd": math.nan},
            {"calls": 0},
            {"tokens": 1.5},
            {"usd": "1"},
            {"usd": 1e300},
        ],
    )
    def test_amounts_are_checked(self, amounts):
        """Where they are given."""
        with pytest.raises(ValueError, match=f"Priced: {next(iter(amounts))} is"):
            Priced([], **amounts)

    async def test_a_budget_outside_counts_as_well(self):
        """The tighter one."""
        found = await solve(
            self.priced(), policy="listwise", max_calls=10, max_tokens=10_000,
            remaining=lambda: RemainingCalls(max_calls=0),
        )  # fmt: skip
        assert (found.calls, found.stop_reason) == (0, StopReason.BUDGET)


class TestConcurrency:
    """Calls under way, in one search and in many."""

    @staticmethod
    def watched():
        """Return a problem, and the most calls that were under way together."""
        now, most = [], [0]

        def watch(function):
            async def watched(*args):
                now.append(1)
                most[0] = max(most[0], len(now))
                for _ in range(5):
                    await asyncio.sleep(0)
                now.pop()
                return function(*args)

            return watched

        return sized(propose=watch(draws), judge=watch(size)), most

    @pytest.mark.parametrize("limit", [1, 2, None])
    async def test_a_limit_is_kept_and_changes_no_result(self, limit):
        """Calls of a round travel together where they may."""
        problem, most = self.watched()
        found = await solve(problem, policy="best_of_n", max_calls=3, max_concurrency=limit)
        assert most[0] == limit if limit else most[0] > 1
        plain = await solve(sized(), policy="best_of_n", max_calls=3)
        assert found.search.state_dict() == plain.search.state_dict()

    async def test_searches_may_share_a_limit(self):
        """A semaphore of the caller's."""
        problem, most = self.watched()
        limit = asyncio.Semaphore(3)
        each = [solve(problem, policy="listwise", max_concurrency=limit) for _ in range(4)]
        await asyncio.gather(*each)
        assert most[0] == 3

    @pytest.mark.parametrize("limit", [1, 3, 8])
    async def test_many_are_solved_in_their_order(self, limit):
        """At any concurrency with the same results; calls of all together are limited."""
        problem, most = self.watched()
        starts = [None, 1, 2, 3, 4, 5]
        problems = [sized(propose=problem.propose, judge=problem.judge, start=s) for s in starts]
        ended = []
        found = await solve_all(
            iter(problems), policy="best_of_n", max_calls=3, max_concurrency=limit,
            progress=lambda place, solution: ended.append((place, solution)),
        )  # fmt: skip
        alone = [await solve(sized(start=s), policy="best_of_n", max_calls=3) for s in starts]
        assert [one.search.state_dict() for one in found] == [
            one.search.state_dict() for one in alone
        ]
        assert most[0] <= limit
        assert sorted(place for place, _ in ended) == list(range(6))
        assert all(found[place] is solution for place, solution in ended)

    async def test_one_that_fails_costs_no_other(self):
        """Its exception is in its place, with its search."""

        def judge(states, judge_pass):
            raise Down("broken")

        found = await solve_all([sized(), sized(judge=judge), sized()], max_calls=4)
        assert [type(one).__name__ for one in found] == ["Solution", "Down", "Solution"]
        assert len(found[1].search.tree) > 0

    async def test_none_and_what_is_no_problem(self):
        """An empty list is no error; something else in it is one of its place."""
        assert await solve_all([]) == []
        (found,) = await solve_all([None])
        assert isinstance(found, Exception)

    @pytest.mark.parametrize(
        ("options", "error", "words"),
        [
            ({"max_concurrency": None}, TypeError, "max_concurrency is None; give the most"),
            ({"max_concurrency": asyncio.Semaphore(2)}, TypeError, "max_concurrency is <asyncio"),
            ({"max_concurrency": True}, TypeError, "max_concurrency is True"),
            ({"max_concurrency": 0}, ValueError, "max_concurrency is 0; give at least 1"),
            ({"max_cals": 3}, TypeError, "called 'max_cals'; did you mean 'max_calls'"),
            ({"max_calls": -1}, ValueError, "max_calls is -1"),
            ({"max_usd": -1}, ValueError, "max_usd is -1"),
            ({"calibration": 3}, TypeError, "calibration is 3"),
        ],
    )
    async def test_what_fits_no_problem_is_an_error_of_all(self, options, error, words):
        """Once, before any of them is taken."""
        taken = iter([sized()])
        with pytest.raises(error, match=words):
            await solve_all(taken, **options)
        assert len(list(taken)) == 1

    async def test_an_error_of_the_callers_ends_all(self):
        """Calls that are under way are cancelled."""

        def progress(place, solution):
            raise Down("in progress")

        with pytest.raises(Down, match="in progress"):
            await solve_all([sized()] * 5, max_calls=2, progress=progress)


class TestFunctions:
    """Functions that cannot be called as they will be, before anything is asked."""

    @pytest.mark.parametrize(
        ("changes", "error", "words"),
        [
            ({"propose": lambda state, k: []}, TypeError,
             r"propose is called as propose\(state, k, context\) -> states, but .*takes"),
            ({"judge": lambda states: []}, TypeError, r"judge\(states, judge_pass\) -> scores"),
            ({"judge": [0.5]}, TypeError, r"judge is \[0.5\] \(type list\); give a function"),
            ({"propose": "gpt"}, TypeError, r"propose is 'gpt' \(type str\); give a function"),
            ({"judge": None}, ValueError, "needs a judge, or a verify"),
            ({"verify": lambda: True}, TypeError, r"called as verify\(state\) -> True, False"),
            ({"is_answer": lambda: True}, TypeError, r"is_answer\(state\) -> bool"),
            ({"text": 7}, TypeError, r"text is 7 \(type int\)"),
            ({"text": functools.partial(asyncio.sleep)}, TypeError,
             "text is the coroutine function sleep .* not awaited; give a plain function"),
            ({"failures": Down}, TypeError, "failures is <class .*Down'>; give a tuple"),
            ({"refusals": (3,)}, TypeError, "refusals has 3; give a tuple of exception types"),
            ({"score_range": (1, 0)}, ValueError, r"score_range is \(1, 0\); give the worst"),
            ({"score_range": (0, math.inf)}, ValueError, "score_range is"),
            ({"score_range": ("a", "b")}, ValueError, "score_range is"),
            ({"score_range": 10}, TypeError, "score_range is 10; give a tuple of 2"),
            ({"is_answer": None}, TypeError, "is_answer is None; leave it out"),
            ({"propose": {"a": draws}, "proposer_costs": [1]}, TypeError,
             r"proposer_costs is \[1\]; give a mapping"),
            ({"propose": {"a": draws, "b": list}}, TypeError, r"propose\['b'\] is called as"),
        ],
    )  # fmt: skip
    def test_a_problem_checks_its_parts(self, changes, error, words):
        """The error names the part and the signature wanted."""
        with pytest.raises(error, match=words):
            sized(**changes)

    async def test_partials_objects_and_builtins_are_functions(self):
        """Whatever can be called with these arguments."""

        class Judge:
            def __call__(self, states, judge_pass, extra=None):
                return size(states, judge_pass)

        def named(prefix, state, k, context):
            return draws(state, k, context)

        found = await solve(
            sized(propose=functools.partial(named, "x"), judge=Judge(), text=str), max_calls=3
        )
        assert found.best is not None

    @pytest.mark.parametrize("name", ["text", "is_answer"])
    async def test_what_is_not_awaited_must_not_be_awaitable(self, name):
        """A coroutine counts as true, and is no text."""

        class Later:
            def __init__(self, state):
                pass

            def __await__(self):
                yield

        with pytest.raises(TypeError, match=f"{name} returned an awaitable; it is not awaited"):
            await solve(sized(**{name: Later}), max_calls=2)

    async def test_an_async_generator_proposes(self):
        """It is read as far as needed."""

        async def propose(state, k, context):
            for n in draws(state, 1000, context):
                yield n

        found = await solve(sized(propose=propose), policy="best_of_n", max_calls=2)
        assert len(found.result.tree) == 4

    async def test_a_generator_may_fail_as_listed(self):
        """While it is read."""

        def propose(state, k, context):
            yield 1
            raise Down

        problem = sized(propose=propose, failures=(Down,))
        found = await solve(problem, max_calls=4)
        assert found.stop_reason is StopReason.FAILED
        assert found.result.failed == {"generate": found.calls}

    async def test_a_start_that_is_no_state_is_an_error(self):
        """It names the type."""
        with pytest.raises(TypeError, match="start is 'one', no state of int"):
            await solve(sized(start="one"), max_calls=2)

    async def test_one_score_for_several_states_is_explained(self):
        """A judge of one state is a common mistake."""
        with pytest.raises(TypeError, match=r"judge returned 0\.5, .* one score for each"):
            await solve(sized(judge=lambda states, judge_pass: 0.5), max_calls=2)


class TestLostCalls:
    """Answers that were paid for are kept whatever happens to others."""

    @pytest.mark.parametrize("is_async", [True, False])
    async def test_after_an_error_no_further_call_is_begun(self, is_async):
        """Those that wait for a place are asked by the resumed search."""
        asked = []

        def propose(state, k, context):
            asked.append(context.attempt)
            if context.attempt == 0:
                raise Down("first")
            return draws(state, k, context)

        async def later(*args):
            return propose(*args)

        problem = sized(propose=later if is_async else propose)
        with pytest.raises(Down) as raised:
            await solve(problem, policy="best_of_n", max_calls=3, max_concurrency=1)
        assert asked == [0]
        again = await resume(sized(), raised.value.search.state_dict())
        plain = await solve(sized(), policy="best_of_n", max_calls=3)
        assert again.search.state_dict() == plain.search.state_dict()

    @pytest.mark.parametrize("part", ["propose", "judge", "verify"])
    async def test_a_function_that_ends_as_cancelled_is_an_error(self, part):
        """As one that waits for what another part of the program cancelled."""

        async def gone(*args):
            raise asyncio.CancelledError

        with pytest.raises(RuntimeError, match=r"gone .* ended as cancelled, though") as raised:
            await solve(sized(**{part: gone}), policy="best_of_n", max_calls=3)
        assert raised.value.search.result().calls

    async def test_an_interrupt_leaves_a_checkpoint(self):
        """Ctrl-C in one call of a round costs no other."""
        kept = []

        def propose(state, k, context):
            if context.attempt:
                raise KeyboardInterrupt
            return draws(state, k, context)

        def interrupted():
            solve_sync(
                sized(propose=propose), policy="best_of_n", max_calls=3, checkpoint=kept.append
            )

        with pytest.raises(KeyboardInterrupt):
            await asyncio.to_thread(interrupted)
        assert list(kept[-1]["progress"]["told"]) == ["generate:0"]

    async def test_an_error_names_its_function(self):
        """With the line of its definition, and the proposer where there are several."""
        problem = sized(propose={"good": draws}, judge=lambda states, judge_pass: 0.5)
        with pytest.raises(TypeError) as raised:
            await solve(problem, max_calls=2)
        note = raised.value.__notes__[0]
        assert note.startswith("In judge(6 states, pass 0) by ")
        assert "<lambda> (" in note
        assert "test_solving.py:" in note

    async def test_an_answer_that_cannot_be_read_costs_no_other(self):
        """The second generation is kept though the first brought no state."""
        problem = sized(
            propose=lambda state, k, context: draws(state, k, context) if context.attempt else [{}]
        )
        kept = []
        with pytest.raises(TypeError, match=r"propose gave \{\}, no state of int") as raised:
            await solve(problem, policy="best_of_n", max_calls=3, checkpoint=kept.append)
        assert list(raised.value.search.open_answers) == ["generate:1"]
        again = await resume(sized(), kept[-1])
        assert again.calls == 3

    async def test_results_that_cannot_be_read_may_be_listed(self):
        """A model that miscounts costs its call and no more, price included."""

        def judge(states, judge_pass):
            scores = size(states, judge_pass)
            return Priced(scores[judge_pass.number == 0 :], tokens=5)

        problem = sized(propose=lambda *args: Priced(draws(*args), tokens=1), judge=judge)
        with pytest.raises(ValueError, match="judge returned 3 scores for 4 states"):
            await solve(problem, policy="posterior_uct", max_calls=5)
        problem = dataclasses.replace(problem, failures=(ValueError,))
        found = await solve(problem, policy="posterior_uct", max_calls=5)
        assert found.result.failed == {"judge_list": 1}
        assert found.confidence is not None
        assert (
            found.tokens
            == 1 * found.result.asked["generate"]
            + found.result.asked.get("refine", 0)
            + 5 * found.result.asked["judge_list"]
        )

    async def test_a_second_error_of_a_round_is_noted(self):
        """The first one is raised."""

        async def propose(state, k, context):
            await asyncio.sleep(0)
            raise Down(f"attempt {context.attempt}")

        with pytest.raises(Down, match="attempt 0") as raised:
            await solve(sized(propose=propose), policy="best_of_n", max_calls=3)
        assert "In the same round: Down: attempt 1" in "\n".join(raised.value.__notes__)

    @pytest.mark.parametrize("part", ["policy", "pick", "remaining", "checkpoint"])
    async def test_an_error_between_rounds_costs_no_round(self, part):
        """The search and, unless it is what failed, the last checkpoint have all of them."""
        kept, rounds = [], []

        def broken(*args):
            raise Down(part)

        def next_round(state, left):
            if state.progress.rounds < 2:
                return state.generate([2, 2])
            return broken() if part == "policy" else StopReason.PLAN_DONE

        def remaining():
            rounds.append(1)
            return broken() if part == "remaining" and len(rounds) == 3 else RemainingCalls()

        def checkpoint(state):
            if part == "checkpoint" and len(kept) == 2:
                broken()
            kept.append(state)

        pick = broken if part == "pick" else None
        with register_policy("breaks", next_round, pick=pick), pytest.raises(Down) as raised:
            await solve(
                sized(), policy="breaks", max_calls=8, remaining=remaining, checkpoint=checkpoint
            )
        state = raised.value.search.state_dict()
        assert len(state["nodes"]) == 9
        assert "this error's `search`" in "\n".join(raised.value.__notes__)
        if part != "checkpoint":
            assert kept[-1] == state

    async def test_a_checkpoint_that_fails_too_hides_no_error(self):
        """It is noted."""

        def checkpoint(state):
            if state["progress"]["told"]:
                raise Down("full")

        def propose(state, k, context):
            if context.attempt:
                raise ZeroDivisionError
            return draws(state, k, context)

        with pytest.raises(ZeroDivisionError) as raised:
            await solve(
                sized(propose=propose), policy="best_of_n", max_calls=3, checkpoint=checkpoint
            )
        assert raised.value.__notes__[-1] == "The checkpoint failed too: Down: full"

    async def test_a_cancelled_search_keeps_what_has_come(self):
        """In its last checkpoint."""
        kept, waits = [], asyncio.Event()

        async def propose(state, k, context):
            if context.attempt == 0:
                return draws(state, k, context)
            waits.set()
            return await asyncio.Event().wait()

        task = asyncio.ensure_future(
            solve(sized(propose=propose), policy="best_of_n", max_calls=3, checkpoint=kept.append)
        )
        await waits.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list(kept[-1]["progress"]["told"]) == ["generate:0"]
        again = await resume(sized(), kept[-1])
        plain = await solve(sized(), policy="best_of_n", max_calls=3)
        assert again.search.state_dict() == plain.search.state_dict()
