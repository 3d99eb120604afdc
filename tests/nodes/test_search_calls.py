"""Which call answers a proposal, and what its answer means to the search."""

from dataclasses import replace

import orjson
import pytest

from lats.actions import Generate, JudgeList
from lats.answers import Draft, Drafts, NoAnswer, NodeId, Verdict, Verdicts
from lats.search_knobs import SearchKnobs
from lats.search_tree import SearchTree
from lats.similarity import identity_key
from nodes.search.action_answers import (
    MAX_GOAL_CHARS,
    AssistantCheck,
    CandidateSet,
    FitVerdicts,
    Judgement,
    Variant,
    answer_to,
)
from nodes.search.action_calls import REPLY_LEASE, call_for, reply_call
from nodes.search_material import SearchMaterial
from turnwise.calls.call import Purpose
from turnwise.calls.errors import AuthFailed, CallRefused, InvalidAnswer
from turnwise.calls.reply import Reply

MATERIAL = SearchMaterial(language="en", user_text="hi")
GENERATE = Generate(k=2, attempt=0)
JUDGE = JudgeList(node_ids=(NodeId("a1"), NodeId("b2")), pass_index=0)


def _tree():
    return SearchTree(Draft(reply=""), identity_key)


def _told(proposal, answer):
    return answer_to(proposal, answer, _tree(), MATERIAL)


def test_repairs_are_the_callers_to_say():
    """Whatever is asked."""
    assert call_for(GENERATE, _tree(), MATERIAL, max_repairs=3).max_repairs == 3
    plan = Generate(1, 0, prompt="plan")
    assert call_for(plan, _tree(), MATERIAL, max_repairs=0).max_repairs == 0


@pytest.mark.parametrize(
    ("knobs", "tokens"),
    [
        ({}, 1000),
        ({"policy": "listwise"}, 2300),
        ({"policy": "best_of_n", "generate_k": 2}, 1300),
        ({"policy": "auto", "max_calls": 1}, 800),
        ({"policy": "auto", "max_calls": 0}, 800),
        ({"max_calls": 0}, 1000),
    ],
)
def test_the_replys_call_is_the_one_that_the_search_begins_with(knobs, tokens):
    """So what is held back for it fits it, whatever the policy."""
    call = reply_call(SearchKnobs(**knobs), MATERIAL)
    assert (call.purpose, call.lease) == (Purpose.PLAN, REPLY_LEASE)
    assert call.sampling.max_tokens == tokens


def test_a_set_becomes_drafts_with_one_goal():
    """Its bubbles come along for the processor; an endless goal is cut."""
    made = CandidateSet(
        goal="x" * 5000,
        candidates=(Variant(strategy_tag="a", reply="One."), Variant(reply="Two.", bubbles=("2",))),
    )
    told = _told(GENERATE, Reply(text="", parsed=made))
    assert isinstance(told, Drafts)
    assert [draft.reply for draft in told.drafts] == ["One.", "Two."]
    assert {len(draft.payload["goal"]) for draft in told.drafts} == {MAX_GOAL_CHARS}
    assert told.drafts[1].payload["bubbles"] == ["2"]


def test_a_judges_list_becomes_verdicts_by_id():
    """Labels are the pipeline's own matter."""
    tree = _tree()
    for reply in ("One.", "Two."):
        tree.add(tree.top, Draft(reply=reply), prior_mean=None)
    move = JudgeList(node_ids=tuple(node.node_id for node in tree.candidates), pass_index=0)
    shown = orjson.loads(call_for(move, tree, MATERIAL).messages[-1].content)["candidates"]
    assert list(shown.values()) == ["One.", "Two."]
    entry = {"id": list(shown)[1], "score": 0.25}
    judged = FitVerdicts.model_validate({"verdicts": [entry]})
    told = answer_to(move, Reply(text="", parsed=judged), tree, MATERIAL)
    assert told == Verdicts({move.node_ids[1]: Verdict(0.25)})


def test_errors_are_failures_and_fatal_ones_are_raised():
    """A refusal says so: the search then asks nothing more."""
    told = _told(JUDGE, CallRefused("search", "max_calls", 1, 1, 1))
    assert isinstance(told, NoAnswer)
    assert told.is_refused
    told = _told(JUDGE, InvalidAnswer("no JSON " * 100, "…"))
    assert isinstance(told, NoAnswer)
    assert (told.is_refused, len(told.detail)) == (False, 200)
    with pytest.raises(AuthFailed):
        _told(JUDGE, AuthFailed("wrong key"))


@pytest.mark.parametrize(
    ("proposal", "parsed"), [(JUDGE, None), (GENERATE, FitVerdicts(verdicts=()))]
)
def test_an_answer_that_was_not_asked_for_is_an_error(proposal, parsed):
    """Unparsed, or the judge's where drafts were wanted: a broken contract, not a failure."""
    with pytest.raises(TypeError, match="parsed"):
        _told(proposal, Reply(text="{}", parsed=parsed))


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Judgement(score=0.5, persona=0.25, reason="Dry."), Verdict(0.5, {"persona": 0.25})),
        (AssistantCheck(assistantness=0.75), Verdict(attributes={"assistantness": 0.75})),
        (Judgement(score=None), Verdict()),
    ],
)
def test_a_judge_of_one_reply_gives_one_verdict(answer, verdict):
    """What it leaves out is missing; its words are kept."""
    told = _told(JudgeList((NodeId("a1"),), 0, "single"), Reply(text="", parsed=answer))
    assert told == Verdicts({NodeId("a1"): replace(verdict, reason=answer.reason)})
