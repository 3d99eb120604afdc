"""Limits of a search: its cap, the budget, repairs."""

import json
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.budget.budgeter import Budgeter
from callwise.budget.clock import VirtualClock
from callwise.budget.limits import Limits
from callwise.budget.scope import ScopeKind
from callwise.calls import Endpoint
from callwise.calls.call import Outcome, Purpose, Role
from callwise.calls.client import Remaining
from callwise.calls.errors import ServerFailed
from callwise.simulator import SimulatedClient, SimulatedSettings
from callwise.testing.fakes import ScriptedClient
from lats.actions import ActionKind
from lats.policy import RemainingCalls
from lats.result import StopReason
from lats.search_knobs import SearchKnobs
from lats.strategies import STRATEGIES
from nodes.lats_search import (
    SearchLimits,
    remaining_calls,
    repairs_within,
    search_limits,
    search_reply,
)
from nodes.search.action_calls import REPLY_LEASE, SearchMaterial
from nodes.turn import TurnView

MATERIAL = SearchMaterial(TurnView(language="en", user_text="I lost my keys again."))
ZH = SearchMaterial(TurnView(language="zh", user_text="我又把钥匙弄丢了。"))


def _budgeter(client):
    endpoint = Endpoint(name="e", client=client, model="m")
    return Budgeter(dict.fromkeys((Role.MAIN, Role.JUDGE), endpoint), clock=VirtualClock())


async def _search(client, *, material=MATERIAL, turn=None, held=0, max_repairs=1, **knobs):
    """Search as the graph does, and return the outcome and the search scope's counts."""
    given = SearchKnobs(**knobs)
    budgeter = _budgeter(client)
    limits = search_limits(given, held_calls=held)
    own = Limits(max_calls=limits.max_calls, max_requests=limits.max_calls)
    with budgeter.run.open(ScopeKind.TURN, "0", limits=Limits(max_calls=turn)) as scope:
        if held:
            scope.hold(REPLY_LEASE, role=Role.MAIN)
        with scope.open(ScopeKind.SEARCH, limits=own) as search:
            outcome = await search_reply(
                budgeter, knobs=given, material=material, max_repairs=max_repairs, limits=limits
            )
    return outcome, search.counts()


def _simulated(**settings):
    return SimulatedClient(SimulatedSettings(seed=5, **settings))


def _refused(counts):
    return counts.outcomes[Outcome.REFUSED]


def _proposed(outcome):
    return {record["reply"] for record in outcome.summary()["candidates"]}


@pytest.mark.parametrize("policy", STRATEGIES)
@pytest.mark.parametrize("cap", range(1, 9))
async def test_every_policy_ends_within_every_cap_with_a_reply_that_was_proposed(policy, cap):
    """Over the simulated model, in both languages; what is asked is what was planned for."""
    for material in (MATERIAL, ZH):
        outcome, counts = await _search(
            _simulated(), material=material, policy=policy, max_calls=cap
        )
        assert counts.asked == sum(outcome.result.asked.values()) <= cap
        assert outcome.reply in _proposed(outcome)
        assert (outcome.result.planned_cap, outcome.wound_down) == (cap, None)
        assert outcome.degradation is None


@pytest.mark.parametrize("policy", STRATEGIES)
@pytest.mark.parametrize("cap", [1, 2, 4, 6, 8])
@pytest.mark.parametrize("repairs", [1, 3])
async def test_repairs_and_retries_count_against_the_cap(policy, cap, repairs):
    """A model that fails often: not one call or request more, and an end with a reason."""
    faulty = _simulated(
        malformed_json_rate=0.3, error_rate_500=0.1, error_rate_429=0.1, missing_score_rate=0.3
    )
    outcome, counts = await _search(faulty, policy=policy, max_calls=cap, max_repairs=repairs)
    assert counts.asked - _refused(counts) <= cap
    assert counts.requests <= cap
    assert outcome.result.stop_reason is not None
    proposed = _proposed(outcome)
    assert outcome.reply in proposed if proposed else outcome.degradation is not None


def _scripted(*, broken=()):
    """Return a client whose answers to some calls, counted from 0, are no JSON.

    Args:
        broken: numbers of those, repairs counted as well.
    """
    numbers = count()

    def answer(call):
        number = next(numbers)
        if number in broken:
            return "no JSON"
        fields = next(
            json.loads(each.content) for each in call.messages if each.content.startswith("{")
        )
        if call.purpose is Purpose.JUDGE:
            entries = [{"id": label, "score": 0.5} for label in fields["candidates"]]
            return json.dumps({"verdicts": entries})
        made = [{"reply": f"Reply {number} {i}."} for i in range(fields["task"]["count"])]
        return json.dumps({"candidates": made})

    return ScriptedClient(answer)


async def test_a_repair_takes_the_place_of_a_later_call():
    """One wrong form among six calls: the search plans the rest with what is left."""
    outcome, counts = await _search(
        _scripted(broken={2}), policy="listwise", max_calls=6, refine=True
    )
    assert (counts.asked, _refused(counts), counts.repairs) == (6, 0, 1)
    assert sum(outcome.result.asked.values()) == 5


async def test_a_repair_that_does_not_fit_is_not_asked():
    """The last call of the cap was no answer: what was found stays, and nothing is refused."""
    outcome, counts = await _search(_scripted(broken={1}), policy="listwise", max_calls=2)
    assert (counts.asked, _refused(counts), counts.unreadable) == (2, 0, 1)
    assert outcome.result.stop_reason is StopReason.CAP
    assert outcome.reply in _proposed(outcome)
    assert outcome.degradation.detail.startswith("no usable judgement: 1 of 1 judge call failed")


async def test_a_first_call_that_cannot_be_repaired_leaves_no_reply():
    """And says that its answer is of no use, so that the turn falls back."""
    outcome, counts = await _search(_scripted(broken={0}), policy="auto", max_calls=1)
    assert (outcome.reply, counts.asked, _refused(counts)) == (None, 1, 0)
    assert outcome.degradation.reason == "invalid"


@pytest.mark.parametrize("policy", STRATEGIES)
@pytest.mark.parametrize("turn", range(1, 12))
@pytest.mark.parametrize("first_broken", [0, 1, 3])
async def test_no_repair_is_refused(policy, turn, first_broken):
    """A model that no longer answers in form is asked within what is left, and no more."""
    client = _scripted(broken=range(first_broken, 99))
    _, counts = await _search(client, policy=policy, max_calls=8, turn=turn, max_repairs=2)
    assert _refused(counts) == 0
    assert counts.asked <= min(turn, 8)


async def test_retries_take_requests_of_the_same_cap():
    """A server that fails for ever: two requests, not two for each call."""
    client = ScriptedClient(lambda call: ServerFailed("down"))
    outcome, counts = await _search(client, policy="listwise", max_calls=2)
    assert counts.requests <= 2
    assert outcome.reply is None


@pytest.mark.parametrize("policy", STRATEGIES)
@pytest.mark.parametrize("turn", range(1, 9))
async def test_the_replys_lease_is_part_of_the_plan(policy, turn):
    """What a turn has left is used to the last call, the held one included."""
    outcome, counts = await _search(_simulated(), policy=policy, max_calls=6, turn=turn, held=1)
    assert _refused(counts) == 0
    assert outcome.result.planned_cap == min(turn, 6)
    expected = {"planned": turn, "knobs": 6} if turn < 6 else None
    assert outcome.wound_down == expected
    assert outcome.reply in _proposed(outcome)


async def test_a_turn_without_anything_left_is_refused_once():
    """The reply's own call is asked for all the same: the budget has the last word."""
    outcome, counts = await _search(_simulated(), policy="auto", max_calls=6, turn=0)
    assert (counts.asked, _refused(counts)) == (1, 1)
    assert (outcome.reply, outcome.degradation.reason) == (None, "refused")


async def test_logprobs_make_finer_scores():
    """The simulated judge writes hundredths; the means over what it nearly wrote are finer."""
    knobs = {"policy": "listwise", "max_calls": 3}
    coarse, _ = await _search(_simulated(), **knobs)
    fine, _ = await _search(_simulated(), **knobs, judge_logprobs=10)

    def scores(outcome):
        judged = (record["judged"] for record in outcome.summary()["candidates"])
        return [each["score"] for each in judged if each and "score" in each]

    assert all(score == round(score, 2) for score in scores(coarse))
    assert not any(score == round(score, 2) for score in scores(fine))
    assert len(scores(fine)) == len(scores(coarse)) > 2


async def test_the_classic_search_is_bound_by_its_limits_as_they_are():
    """Its eleven calls, and no limit of ours."""
    outcome, counts = await _search(_simulated(), early_exit={"enabled": False}, max_top_ups=0)
    assert counts.asked - counts.repairs == 11
    assert outcome.summary()["policy"] == "classic_uct"


@pytest.mark.parametrize(
    ("max_calls", "limits", "expected"),
    [
        (None, (None, None), 6),
        (4, (None, None), 4),
        (4, (3, None), 3),
        (4, (9, 2), 2),
        (None, (9, None), 6),
        (0, (None, None), 0),
        (4, (0, None), 0),
    ],
)
def test_the_scope_has_the_least_of_all_caps(max_calls, limits, expected):
    """The knobs' own, or the policy's default, and those that the scope has anyway."""
    knobs = SearchKnobs(policy="auto", max_calls=max_calls)
    limits = search_limits(knobs, max_calls=limits[0], max_requests=limits[1], held_calls=1)
    assert limits == SearchLimits(expected, 1)


def test_the_classic_search_keeps_the_limits_as_they_are():
    """Its cap counts proposals."""
    knobs = SearchKnobs(max_calls=3)
    assert search_limits(knobs, max_calls=5, held_calls=1) == SearchLimits(None, 1)


def test_nothing_limits_nothing():
    """Whatever is held back."""
    assert remaining_calls(Remaining()) == RemainingCalls()
    assert remaining_calls(Remaining(), SearchLimits(None, 1), is_first=True) == RemainingCalls()


@pytest.mark.parametrize(
    ("advisory", "remaining"),
    [
        (Remaining(calls_left=5, requests_left=3), RemainingCalls(3)),
        (Remaining(calls_left=5, tokens_left=0), RemainingCalls(0)),
        (Remaining(calls_left=5, usd_left=0.0), RemainingCalls(0)),
        (Remaining(tokens_left=100, usd_left=0.5), RemainingCalls()),
        (Remaining(seconds_left=0.0), RemainingCalls(0, is_late=True)),
        (Remaining(calls_left=5, seconds_left=-1.0), RemainingCalls(0, is_late=True)),
        (Remaining(seconds_left=0.1), RemainingCalls()),
        (
            Remaining(calls_left=9, calls_left_by_role=((Role.JUDGE, 2), (Role.MAIN, 0))),
            RemainingCalls(9, 0, 2),
        ),
    ],
)
def test_an_advisory_is_read_in_calls(advisory, remaining):
    """The tightest counts; what is used up leaves none; late is late."""
    assert remaining_calls(advisory) == remaining


@pytest.mark.parametrize(
    ("advisory", "limits", "remaining"),
    [
        (Remaining(calls_left=5), SearchLimits(6, 1), RemainingCalls(6)),
        (Remaining(calls_left=5), SearchLimits(6, 0), RemainingCalls(5)),
        (Remaining(calls_left=3), SearchLimits(3, 1), RemainingCalls(3)),
        (Remaining(calls_left=0), SearchLimits(6, 0), RemainingCalls(1)),
        (Remaining(seconds_left=0.0), SearchLimits(6, 1), RemainingCalls(1)),
        (Remaining(tokens_left=0), SearchLimits(6, 1), RemainingCalls(1)),
        (
            Remaining(calls_left_by_role=((Role.MAIN, 0),)),
            SearchLimits(6, 1),
            RemainingCalls(None, 1),
        ),
        (Remaining(calls_left=0), SearchLimits(0, 1), RemainingCalls(0)),
    ],
)
def test_the_first_round_may_use_what_is_held_back_for_the_reply(advisory, limits, remaining):
    """On top of what is left, and never more than the scope takes. One call at least."""
    assert remaining_calls(advisory, limits, is_first=True) == remaining


@given(
    calls=st.none() | st.integers(0, 9),
    requests=st.none() | st.integers(0, 9),
    cap=st.none() | st.integers(0, 9),
    held=st.integers(0, 1),
    is_first=st.booleans(),
)
def test_remaining_calls_are_never_more_than_are_left(calls, requests, cap, held, is_first):
    """But for the reply's own call."""
    advisory = Remaining(calls_left=calls, requests_left=requests)
    remaining = remaining_calls(advisory, SearchLimits(cap, held), is_first=is_first)
    left = [limit for limit in (calls, requests) if limit is not None]
    assert (remaining.max_calls is None) == (not left)
    if left and remaining.max_calls is not None:
        assert remaining.max_calls <= min(left) + is_first
        assert not is_first or cap is None or remaining.max_calls <= cap


@pytest.mark.parametrize(
    ("remaining", "max_repairs", "repairs"),
    [
        (RemainingCalls(), 2, [2, 2, 2]),
        (RemainingCalls(), 0, [0, 0, 0]),
        (RemainingCalls(3), 2, [0, 0, 0]),
        (RemainingCalls(4), 2, [1, 0, 0]),
        (RemainingCalls(7), 2, [2, 1, 1]),
        (RemainingCalls(9, max_judge_calls=1), 2, [2, 0, 2]),
        (RemainingCalls(9, max_proposer_calls=3), 1, [1, 1, 0]),
    ],
)
def test_repairs_come_out_of_what_a_round_leaves(remaining, max_repairs, repairs):
    """In all and by side, the first of every call before the second of any."""
    kinds = [ActionKind.GENERATE, ActionKind.JUDGE_LIST, ActionKind.GENERATE]
    assert repairs_within(remaining, kinds, max_repairs=max_repairs) == repairs
