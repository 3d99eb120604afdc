"""The search node with every policy but the classic one, on scripted answers."""

import json

import pytest

from callwise.calls.call import Purpose, Role
from callwise.calls.client import Remaining
from callwise.calls.errors import AuthFailed, CallTimeout, ConfigError, InvalidAnswer
from callwise.testing.fakes import ScriptedLLM
from lats.answers import MAX_REPLY_CHARS
from lats.reflection import Guideline
from lats.result import StopReason
from lats.search_knobs import ReflectionKnobs, SearchKnobs
from lats.strategies import STRATEGIES
from nodes.lats_search import SearchLimits, search_reply
from nodes.search.action_calls import REPLY_LEASE, SearchMaterial, goal_of
from nodes.turn import TurnView

MATERIAL = SearchMaterial(TurnView(language="en", user_text="I lost my keys again."))
CAP = 6


def _fields(call):
    return json.loads(call.messages[-1].content)


def _candidates(call):
    """Return as many new replies as asked for, with bubbles."""
    number = len(call.messages[-1].content) + 100 * call.sample
    return {
        "goal": "make peace",
        "candidates": [
            {
                "strategy_tag": f"way {number} {i}",
                "reply": f"Reply {number} {i}.",
                "bubbles": [f"Reply {number} {i}"],
            }
            for i in range(_fields(call)["task"]["count"])
        ],
    }


def _scores(call):
    """Return an opinion that depends on nothing but the reply's text."""
    return {
        "verdicts": [
            {"id": label, "reason": "So.", "score": sum(reply.encode()) % 97 / 97}
            for label, reply in _fields(call)["candidates"].items()
        ]
    }


def _each(score):
    """Return a judge that says the same of each candidate."""
    return lambda call: {
        "verdicts": [
            {"id": label, "reason": "The same.", "score": score}
            for label in _fields(call)["candidates"]
        ]
    }


def _by_place(call):
    """Return a judge that prefers the candidate it reads first: reversed under permutation."""
    shown = _fields(call)["candidates"]
    return {
        "verdicts": [
            {"id": label, "score": 1 - place / len(shown)} for place, label in enumerate(shown)
        ]
    }


def _fewer(call):
    return {"verdicts": _scores(call)["verdicts"][:1]}


def _more(call):
    entries = _scores(call)["verdicts"]
    return {"verdicts": [*entries, *entries, {"id": "c99", "score": 1.0}, {"id": "best"}, 5]}


def _ranking(call):
    return {"ranking": list(_fields(call)["candidates"])}


def _llm(write=_candidates, judge=_scores, **fields):
    answers = {Purpose.PLAN: write, Purpose.EXPAND: write, Purpose.JUDGE: judge}
    return ScriptedLLM(answers, **fields)


def _search(llm, *, guidelines=(), limits=None, **knobs):
    given = SearchKnobs(**{"policy": "auto", "max_calls": CAP, **knobs})
    more = {} if limits is None else {"limits": limits}
    return search_reply(llm, knobs=given, material=MATERIAL, guidelines=guidelines, **more)


@pytest.mark.parametrize("policy", STRATEGIES)
@pytest.mark.parametrize(
    "judge",
    [
        _scores,
        _each(0.5),
        _each(1.7),
        _each("good"),
        _each(None),
        _by_place,
        _fewer,
        _more,
        _ranking,
        {"verdicts": []},
        {"verdicts": [{"id": "nobody", "score": 1.0}]},
        '{"verdicts": [{"id": "c1", "score": NaN}]}',
        "I would rather not say.",
        CallTimeout("slow"),
    ],
)
async def test_whatever_a_judge_says_the_search_ends_with_a_reply_that_was_proposed(policy, judge):
    """Within its cap, with a reason, and never more sure than its judge's answers allow."""
    llm = _llm(judge=judge)
    outcome = await _search(llm, policy=policy)
    assert len(llm.calls) <= CAP
    assert outcome.result.stop_reason is not None
    records = outcome.summary()["candidates"]
    assert outcome.reply in {record["reply"] for record in records}
    assert goal_of(outcome.result.tree, outcome.result.best.node_id) == "make peace"
    assert all(record["mean_score"] is None or 0 <= record["mean_score"] <= 1 for record in records)


@pytest.mark.parametrize(
    "judge", [_each("fine"), _each(None), {"verdicts": []}, CallTimeout("slow")]
)
async def test_a_judge_that_says_nothing_leaves_the_choice_to_the_rules(judge):
    """It is not asked for ever, nothing is built on its silence, and no one leads for sure."""
    llm = _llm(judge=judge)
    outcome = await _search(llm, policy="listwise", refine=True)
    assert outcome.result.stop_reason in {StopReason.UNJUDGED, StopReason.PLAN_DONE}
    assert outcome.result.confidence is None
    assert "refine" not in outcome.summary()["asked"]
    assert len(llm.calls_for(Purpose.JUDGE)) <= 4
    assert outcome.reply is not None


async def test_entries_beyond_those_shown_and_doubles_change_nothing():
    """The first entry with a label counts."""
    plain, doubled = await _search(_llm()), await _search(_llm(judge=_more))
    assert plain.summary() == doubled.summary()


async def test_a_judge_that_goes_by_place_alone_is_averaged_out():
    """Each is read in another order, so no candidate leads by far."""
    outcome = await _search(_llm(judge=_by_place), policy="listwise", max_calls=4)
    scores = [record["mean_score"] for record in outcome.summary()["candidates"]]
    assert max(scores) - min(scores) < 0.8
    assert outcome.result.confidence.chance_best < 0.9


async def test_a_ranking_alone_decides():
    """The first of each ranking leads, where a judge ranks and does not score."""
    llm = _llm(judge=_ranking)
    outcome = await _search(llm, policy="listwise", max_calls=2)
    assert outcome.reply == next(iter(_fields(llm.calls[-1])["candidates"].values()))


def _one_reply(text):
    return lambda call: {
        "candidates": [{"reply": text, "strategy_tag": "same"}] * _fields(call)["task"]["count"]
    }


@pytest.mark.parametrize("policy", STRATEGIES)
@pytest.mark.parametrize(
    ("write", "reply"),
    [
        (_one_reply("Tea?"), "Tea?"),
        (_one_reply("x" * 50_000), "x" * MAX_REPLY_CHARS),
        (_one_reply(" \x00 "), None),
        ({"goal": "none", "candidates": []}, None),
        ('{"candidates": "none"}', None),
        ("no JSON", None),
        (InvalidAnswer("no JSON", "…"), None),
        (CallTimeout("slow"), None),
    ],
)
async def test_whatever_a_proposer_brings_the_search_ends(policy, write, reply):
    """Repeats, 50,000 characters, nothing: what is new and usable, or a reason why not."""
    llm = _llm(write=write)
    outcome = await _search(llm, policy=policy)
    assert len(llm.calls) <= CAP
    assert outcome.reply == reply
    if reply is None:
        assert outcome.result.stop_reason is StopReason.FAILED
        assert outcome.degradation.reason in {"invalid", "failed"}
        assert not llm.calls_for(Purpose.JUDGE)
    else:
        assert len(outcome.summary()["candidates"]) == 1


@pytest.mark.parametrize("policy", STRATEGIES)
async def test_a_cap_of_nothing_asks_nothing(policy):
    """And names the knob."""
    llm = _llm()
    outcome = await _search(llm, policy=policy, max_calls=0)
    assert (llm.calls, outcome.reply, outcome.result.stop_reason) == ([], None, StopReason.CAP)
    assert "search.max_calls" in outcome.degradation.detail


@pytest.mark.parametrize("policy", STRATEGIES)
async def test_exactly_the_first_call_draws_on_the_replys_lease(policy):
    """Of two generations of one round, one does."""
    llm = _llm()
    await _search(llm, policy=policy)
    assert [call.lease for call in llm.calls] == [REPLY_LEASE] + [None] * (len(llm.calls) - 1)
    assert llm.calls[0].purpose is Purpose.PLAN
    assert [call.purpose for call in llm.calls[1:]].count(Purpose.PLAN) == 0


async def test_a_round_travels_together():
    """Six calls in two rounds, and in four with refinement."""
    for refine, in_flight, rounds, proposed in ((None, 5, 2, 1), (True, 2, 4, 3)):
        llm = _llm()
        outcome = await _search(llm, policy="listwise", refine=refine)
        found = (len(llm.calls), llm.max_in_flight, outcome.result.rounds)
        assert found == (6, in_flight, rounds)
        roles = [call.role for call in llm.calls]
        assert (roles.count(Role.MAIN), roles.count(Role.JUDGE)) == (proposed, 6 - proposed)


async def test_no_two_calls_of_a_search_have_one_identity():
    """Else a cache would answer the second look with the first."""
    llm = _llm()
    await _search(llm, policy="listwise", max_calls=10)
    identities = [(call.messages, call.sample) for call in llm.calls]
    assert len(set(identities)) == len(identities)


async def test_rubrics_rotate_between_passes():
    """Each with its own instructions and form."""
    llm = _llm()
    await _search(llm, policy="listwise", max_calls=3, rubrics=("character", "fit"))
    forms = [call.response_model.__name__ for call in llm.calls_for(Purpose.JUDGE)]
    assert forms == ["CharacterVerdicts", "FitVerdicts"]


async def test_the_judge_is_asked_for_logprobs_where_the_knob_says_so():
    """No other call is."""
    llm = _llm()
    await _search(llm, judge_logprobs=5)
    asked = {(call.role, call.sampling.top_logprobs) for call in llm.calls}
    assert asked == {(Role.MAIN, None), (Role.JUDGE, 5)}


async def test_guidelines_reach_the_writer_and_come_back():
    """As material; a judge does not see them."""
    llm = _llm()
    given = [Guideline("persona", "persona: too polite.", 2)]
    knobs = {"reflection": ReflectionKnobs(enabled=True), "policy": "listwise"}
    outcome = await _search(llm, guidelines=given, **knobs)
    writing = [_fields(call) for call in llm.calls if call.role is Role.MAIN]
    assert all(fields["task"]["guidelines"] == ["persona: too polite."] for fields in writing)
    judging = [_fields(call) for call in llm.calls_for(Purpose.JUDGE)]
    assert not any("guidelines" in fields["task"] for fields in judging)
    assert outcome.guidelines == (Guideline("persona", "persona: too polite.", 1),)


async def test_an_unknown_rubric_is_an_error_before_anything_is_asked():
    """A typo costs no call."""
    llm = _llm()
    with pytest.raises(ConfigError, match=r"search\.rubrics"):
        await _search(llm, rubrics=("overal",))
    assert llm.calls == []


async def test_a_fatal_error_is_raised():
    """A key that is wrong for one call is wrong for all."""
    with pytest.raises(AuthFailed):
        await _search(_llm(judge=AuthFailed("wrong key")))


@pytest.mark.parametrize("policy", STRATEGIES)
@pytest.mark.parametrize("max_calls", range(1, 8))
async def test_it_winds_down_to_what_the_budget_leaves(policy, max_calls):
    """It plans for less from the start, is never refused, and says so."""
    llm = _llm(max_calls=max_calls)
    outcome = await _search(llm, policy=policy)
    assert outcome.reply is not None
    assert len(llm.calls) <= min(max_calls, CAP)
    assert outcome.result.failed == {}
    expected = {"planned": max_calls, "knobs": CAP} if max_calls < CAP else None
    assert outcome.summary()["wound_down"] == expected


@pytest.mark.parametrize(
    "advisory",
    [
        Remaining(calls_left=0),
        Remaining(tokens_left=0),
        Remaining(usd_left=0.0),
        Remaining(calls_left_by_role=((Role.MAIN, 0), (Role.JUDGE, 0))),
    ],
)
async def test_a_limit_that_is_used_up_leaves_the_replys_own_call(advisory):
    """It is held back for it; whether it may be asked is for the budget to say."""
    llm = _llm(advisory=advisory)
    outcome = await _search(llm, policy="listwise")
    assert [call.lease for call in llm.calls] == [REPLY_LEASE]
    assert outcome.result.stop_reason is StopReason.BUDGET
    assert outcome.reply is not None


async def test_when_time_is_over_it_stops_with_what_it_has():
    """And says that it was the deadline."""
    llm = _llm(advisory=Remaining(seconds_left=0.0))
    outcome = await _search(llm)
    assert (len(llm.calls), outcome.result.stop_reason) == (1, StopReason.DEADLINE)
    assert outcome.reply is not None


async def test_what_is_held_for_the_reply_counts_in_the_plan():
    """Five calls left and one held are six, so nothing is wound down."""
    llm = _llm(advisory=Remaining(calls_left=5))
    outcome = await _search(llm, policy="listwise", limits=SearchLimits(CAP, 1))
    assert outcome.wound_down is None
    outcome = await _search(_llm(advisory=Remaining(calls_left=5)), policy="listwise")
    assert outcome.wound_down == {"planned": 5, "knobs": CAP}


@pytest.mark.parametrize("policy", STRATEGIES)
async def test_equal_turns_ask_equal_calls(policy):
    """Same input, same seed: the same bytes go out, and the same summary comes back."""
    llms = [_llm(), _llm()]
    outcomes = [await _search(llm, policy=policy, seed=3) for llm in llms]
    assert llms[0].calls == llms[1].calls
    assert outcomes[0].summary() == outcomes[1].summary()


async def test_bubbles_of_the_chosen_reply_come_along():
    """So that the processor need not ask."""
    outcome = await _search(_llm())
    assert "".join(bubble.text for bubble in outcome.processor_plan) + "." == outcome.reply


@pytest.mark.parametrize("policy", STRATEGIES)
async def test_equal_prompts_are_asked_as_different_samples(policy):
    """So that a cache between here and the model cannot give both the same answer."""
    llm = _llm(judge=_each(0.5))
    await _search(llm, policy=policy, max_calls=12)
    asked = [(call.messages, call.sample) for call in llm.calls]
    assert len(set(asked)) == len(asked)
