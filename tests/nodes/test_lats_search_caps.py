"""A whole search behind a real budgeter: the cap holds with repairs, retries and failures."""

import json
from itertools import count

import pytest

from lats.knobs import SearchKnobs
from lats.result import StopReason
from nodes.lats_search import search_reply
from nodes.search_bounds import search_bounds
from nodes.search_calls import REPLY_LEASE
from nodes.search_material import SearchMaterial
from turnwise.budget.budgeter import Budgeter
from turnwise.budget.clock import VirtualClock
from turnwise.budget.limits import Limits
from turnwise.budget.scope import ScopeKind
from turnwise.calls import Endpoint
from turnwise.calls.errors import ServerFailed
from turnwise.calls.simulated import SimulatedClient, SimulatedSettings
from turnwise.calls.vocabulary import Outcome, Purpose, Role
from turnwise.testing.fakes import ScriptedClient

POLICIES = ["best_of_n", "listwise", "halving", "posterior_uct", "auto"]
MATERIAL = SearchMaterial(language="en", user_text="I lost my keys again.")
ZH = SearchMaterial(language="zh", user_text="我又把钥匙弄丢了。")


def _budgeter(client):
    endpoint = Endpoint(name="e", client=client, model="m")
    return Budgeter(dict.fromkeys((Role.MAIN, Role.JUDGE), endpoint), clock=VirtualClock())


async def _search(client, *, material=MATERIAL, turn=None, held=0, max_repairs=1, **knobs):
    """Search as the graph does, and return the outcome and the search scope's counts."""
    given = SearchKnobs(**knobs)
    budgeter = _budgeter(client)
    bounds = search_bounds(given, held_calls=held)
    own = Limits(max_calls=bounds.max_calls, max_requests=bounds.max_calls)
    with budgeter.run.open(ScopeKind.TURN, "0", limits=Limits(max_calls=turn)) as scope:
        if held:
            scope.hold(REPLY_LEASE, role=Role.MAIN)
        with scope.open(ScopeKind.SEARCH, limits=own) as search:
            outcome = await search_reply(
                budgeter, knobs=given, material=material, max_repairs=max_repairs, bounds=bounds
            )
    return outcome, search.counts()


def _simulated(**settings):
    return SimulatedClient.from_settings(SimulatedSettings(seed=5, **settings))


def _refused(counts):
    return counts.outcomes[Outcome.REFUSED]


def _proposed(outcome):
    return {record["reply"] for record in outcome.summary()["tree"]}


@pytest.mark.parametrize("policy", POLICIES)
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


@pytest.mark.parametrize("policy", POLICIES)
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
    assert outcome.stop_reason is not None
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
    outcome, counts = await _search(_scripted(broken={2}), policy="listwise", max_calls=6)
    assert (counts.asked, _refused(counts), counts.repairs) == (6, 0, 1)
    assert sum(outcome.result.asked.values()) == 5


async def test_a_repair_that_does_not_fit_is_not_asked():
    """The last call of the cap was no answer: what was found stays, and nothing is refused."""
    outcome, counts = await _search(_scripted(broken={1}), policy="listwise", max_calls=2)
    assert (counts.asked, _refused(counts), counts.unreadable) == (2, 0, 1)
    assert outcome.stop_reason is StopReason.CAP
    assert outcome.reply in _proposed(outcome)
    assert outcome.degradation.detail.startswith("no usable judgement: 1 of 1 judge call failed")


async def test_a_first_call_that_cannot_be_repaired_leaves_no_reply():
    """And says that its answer is of no use, so that the turn falls back."""
    outcome, counts = await _search(_scripted(broken={0}), policy="auto", max_calls=1)
    assert (outcome.reply, counts.asked, _refused(counts)) == (None, 1, 0)
    assert outcome.degradation.reason == "invalid"


@pytest.mark.parametrize("policy", POLICIES)
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


@pytest.mark.parametrize("policy", POLICIES)
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
    """The simulated judge rounds to few scores, which tie; their means do not."""
    knobs = {"policy": "listwise", "max_calls": 3}
    coarse, _ = await _search(_simulated(), **knobs)
    fine, _ = await _search(_simulated(), **knobs, judge_logprobs=10)

    def scores(outcome):
        judged = (record["judged"] for record in outcome.summary()["tree"])
        return [each["score"] for each in judged if each and "score" in each]

    assert len(set(scores(coarse))) < len(set(scores(fine))) == len(scores(fine))


async def test_the_classic_search_is_bound_by_its_limits_as_they_are():
    """Its eleven calls, and no limit of ours."""
    outcome, counts = await _search(_simulated(), early_exit={"enabled": False}, max_top_ups=0)
    assert counts.asked - counts.repairs == 11
    assert "policy" not in outcome.summary()
