"""Which call answers a proposal, and what its answer means to the search."""

import orjson
import pytest

from lats.candidate import Forest
from lats.draft import Draft
from lats.knobs import SearchKnobs
from lats.moves import Generate, JudgeList
from lats.proposal import Drafts, Failure, PlanRoot
from lats.tree import NodeId, Tree
from lats.verdict import Verdict, Verdicts
from nodes.search_answers import CandidateSet, Variant
from nodes.search_calls import MAX_GOAL_CHARS, REPLY_LEASE, answer_to, call_for, reply_call
from nodes.search_list_answers import FitVerdicts
from nodes.search_material import SearchMaterial
from nodes.turn import TurnView
from turnwise.calls.errors import AuthFailed, CallRefused, InvalidAnswer
from turnwise.calls.reply import Reply
from turnwise.calls.vocabulary import Purpose

MATERIAL = SearchMaterial(TurnView(language="en", user_text="hi"))
GENERATE = Generate(k=2, attempt=0)
JUDGE = JudgeList(node_ids=(NodeId("a1"), NodeId("b2")), look=0)


def _forest():
    return Forest(Draft(reply=""))


def _told(proposal, answer):
    return answer_to(proposal, answer, _forest(), MATERIAL)


def test_repairs_are_the_callers_to_say():
    """Whatever is asked."""
    assert call_for(GENERATE, _forest(), MATERIAL, max_repairs=3).max_repairs == 3
    assert call_for(PlanRoot(), Tree(), MATERIAL, max_repairs=0).max_repairs == 0


@pytest.mark.parametrize(("proposal", "tree"), [(GENERATE, Tree()), (PlanRoot(), _forest())])
def test_a_proposal_of_another_search_is_an_error(proposal, tree):
    """The classic tree knows no moves, and the other way round."""
    with pytest.raises(TypeError, match="another search"):
        call_for(proposal, tree, MATERIAL)


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
    forest = _forest()
    for reply in ("One.", "Two."):
        forest.add(forest.start, Draft(reply=reply), prior_mean=None)
    move = JudgeList(node_ids=tuple(node.node_id for node in forest.candidates), look=0)
    shown = orjson.loads(call_for(move, forest, MATERIAL).messages[-1].content)["candidates"]
    assert list(shown.values()) == ["One.", "Two."]
    entry = {"id": list(shown)[1], "score": 0.25}
    judged = FitVerdicts.model_validate({"verdicts": [entry]})
    told = answer_to(move, Reply(text="", parsed=judged), forest, MATERIAL)
    assert told == Verdicts({move.node_ids[1]: Verdict(0.25)})


def test_errors_are_failures_and_fatal_ones_are_raised():
    """A refusal says so: the search then asks nothing more."""
    told = _told(JUDGE, CallRefused("search", "max_calls", 1, 1, 1))
    assert isinstance(told, Failure)
    assert told.is_refused
    told = _told(JUDGE, InvalidAnswer("no JSON " * 100, "…"))
    assert isinstance(told, Failure)
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
