"""Outcome of a search for the nodes after it."""

import json

import pytest

from callwise.calls.errors import CallTimeout
from lats.actions import ActionKind, Generate, JudgeList, Refine
from lats.answers import Draft, Drafts, Verdict, Verdicts
from lats.policies import start_search
from lats.policy import RemainingCalls
from lats.reflection import Guideline
from lats.rule_score import ReplyContext
from lats.search_knobs import ReflectionKnobs, SearchKnobs
from nodes.lats_search import MAX_PLANNED_BUBBLES, outcome_of, planned_bubbles
from nodes.records import StyleVector
from nodes.search.action_calls import goal_of

"""What a classic search has always said of itself, in its order."""


def _drafts(move):
    payload = {"goal": "make peace", "bubbles": ["x"] * 9} if isinstance(move, Generate) else {}
    return Drafts(
        drafts=tuple(
            Draft(reply=f"{move.action_id} {i}", strategy_tag=f"tag {i}", payload=payload)
            for i in range(move.k)
        )
    )


def _verdicts(move, forest):
    """Return what a judge says who prefers the latest born."""
    scores = {each: forest.nodes[each].birth / 100 for each in move.node_ids}
    return Verdicts(
        {each: Verdict(at, {"persona": 0.125}, reason="Dry.") for each, at in scores.items()}
    )


def _outcome(*, remaining=None, errors=(), guidelines=(), **fields):
    knobs = SearchKnobs(**{"policy": "listwise", **fields})
    context = ReplyContext(user_text="hi", language="en")
    search = start_search(knobs, context, guidelines=guidelines)
    while actions := search.ask(remaining or RemainingCalls()):
        for move in actions:
            is_set = isinstance(move, Generate | Refine)
            answer = _drafts(move) if is_set else _verdicts(move, search.tree)
            search.tell(move.action_id, answer)
    return outcome_of(search.result(), errors, knobs=knobs, style=StyleVector())


def test_a_summary_is_the_searchs_record():
    """Plain JSON, with what the search planned and the guidelines of the next turn."""
    outcome = _outcome(max_calls=6, refine=True)
    summary = outcome.summary()
    assert json.loads(json.dumps(summary)) == summary
    assert summary == {**outcome.result.record(), "guidelines": summary["guidelines"]}
    assert (summary["policy"], summary["planned_cap"]) == ("listwise", 6)
    assert summary["wound_down"] is None
    assert summary["asked"] == {"generate": 2, "judge_list": 3, "refine": 1}
    assert summary["confidence"]["scores"] > 0
    assert 0 < summary["confidence"]["chance_best"] <= 1


def test_a_classic_summary_is_a_record_too():
    """Without a start, a plan or a confidence."""
    search = start_search(SearchKnobs(rollouts=0), ReplyContext(user_text="hi", language="en"))
    while actions := search.ask():
        for each in actions:
            if isinstance(each, JudgeList):
                told = Verdicts({each.node_ids[0]: Verdict(score=0.5)})
            else:
                told = Drafts((Draft(reply="Tea?"),))
            search.tell(each.action_id, told)
    outcome = outcome_of(search.result(), [], knobs=SearchKnobs(), style=StyleVector())
    summary = outcome.summary()
    assert list(summary) == list(_outcome(max_calls=6).summary())
    assert [summary[name] for name in ("start", "planned_cap", "confidence")] == [None] * 3
    assert [each["reply"] for each in summary["candidates"]] == ["Tea?"]
    assert (outcome.max_calls, outcome.wound_down, outcome.guidelines) == (None, None, ())


def test_the_tree_can_be_drawn_from_its_records():
    """Parents come before their children, figures are short, payloads are left out."""
    outcome = _outcome(max_calls=6)
    records = outcome.summary()["candidates"]
    seen = {None}
    for record in records:
        assert record["parent_id"] in seen
        assert (record["depth"] == 1) == (record["parent_id"] is None)
        seen.add(record["id"])
    best = next(record for record in records if record["id"] == outcome.summary()["best_id"])
    assert best["reply"] == outcome.reply
    assert best["judged"].items() >= {"persona": 0.125, "reason": "Dry."}.items()
    assert best["posterior_sd"] > 0
    assert all(
        record["judge_passes"] >= 1 and record["mean_score"] is not None for record in records
    )
    assert "bubbles" not in json.dumps(records)


def test_a_candidate_without_a_judgement_has_null_figures():
    """Missing is missing."""
    (record,) = _outcome(max_calls=1).summary()["candidates"]
    missing = ("mean_score", "posterior_mean", "posterior_sd", "best_value", "judged")
    assert [record[name] for name in missing] == [None] * 5
    assert (record["judge_passes"], record["scores"], record["visits"]) == (0, 0, 0)


@pytest.mark.parametrize(("max_calls", "of"), [(6, 6), (None, 6), (4, 4), (2, None)])
def test_a_search_that_planned_for_less_says_so(max_calls, of):
    """By how much; a cap that fits is no winding down."""
    outcome = _outcome(max_calls=max_calls, remaining=RemainingCalls(max_calls=2))
    assert outcome.summary()["wound_down"] == (of and {"planned": 2, "knobs": of})


def test_the_goal_is_the_best_drafts_or_its_parents():
    """A refinement has none itself."""
    outcome = _outcome(max_calls=6, refine=True)
    assert outcome.result.best.depth == 2
    assert goal_of(outcome.result.tree, outcome.result.best.node_id) == "make peace"


def test_guidelines_are_handed_on_a_turn_older():
    """Those of this search, and those given to it that still live."""
    given = [Guideline("mode_fit", "mode fit: mind it.", 2), Guideline("fit", "old", 1)]
    outcome = _outcome(max_calls=6, guidelines=given, reflection=ReflectionKnobs(enabled=True))
    by_name = {each.attribute: each for each in outcome.guidelines}
    assert by_name.keys() == {"mode_fit", "persona"}
    assert (by_name["mode_fit"].ttl_turns, by_name["persona"].ttl_turns) == (1, 2)
    assert "Dry." in by_name["persona"].text
    assert [each["attribute"] for each in outcome.summary()["guidelines"]] == list(by_name)


@pytest.mark.parametrize(
    ("fields", "remaining", "detail"),
    [
        ({"max_calls": 0}, None, "search.max_calls"),
        ({}, RemainingCalls(0), "budget"),
        ({}, RemainingCalls(0), "reply"),
    ],
)
def test_no_reply_says_why(fields, remaining, detail):
    """A cap of nothing, or a budget that has run out."""
    outcome = _outcome(remaining=remaining, **fields)
    assert (outcome.reply, outcome.processor_plan) == (None, None)
    assert outcome.degradation.reason == "refused"
    assert detail in outcome.degradation.detail


def test_the_first_error_is_the_reason_where_there_was_one():
    """And is kept only where there is no reply."""
    errors = [
        (ActionKind.GENERATE, CallTimeout("slow")),
        (ActionKind.REFINE, CallTimeout("slower")),
    ]
    outcome = _outcome(remaining=RemainingCalls(0), errors=errors)
    assert (outcome.error, outcome.degradation.reason) == (errors[0][1], "failed")
    outcome = _outcome(errors=errors)
    assert (outcome.error, outcome.degradation) == (None, None)


def test_a_search_under_way_has_no_outcome():
    """Its driver stopped too soon."""
    knobs = SearchKnobs(policy="auto")
    search = start_search(knobs, ReplyContext(user_text="hi", language="en"))
    with pytest.raises(ValueError, match="under way"):
        outcome_of(search.result(), [], knobs=knobs, style=StyleVector())


def _bubbles(reply="Hello there. Tea?", **payload):
    return planned_bubbles(Draft(reply=reply, payload=payload), StyleVector())


def test_bubbles_that_say_the_reply_are_timed():
    """What is blank is left out; a bubble may end without the full stop of the reply."""
    bubbles = _bubbles(bubbles=[" Hello there", " ", "Tea?"])
    assert [bubble.text for bubble in bubbles] == ["Hello there", "Tea?"]
    assert all(bubble.delay_seconds > 0 for bubble in bubbles)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"goal": "make peace"},
        {"bubbles": None},
        {"bubbles": []},
        {"bubbles": "Hello there. Tea?"},
        {"bubbles": ["Hello."]},
        {"bubbles": ["Other words."]},
    ],
)
def test_what_cannot_be_used_is_left_to_the_processor(payload):
    """Other words, nothing at all."""
    assert _bubbles(**payload) is None


def test_too_many_bubbles_are_not_used():
    """A bubble a letter is no way to talk."""
    letters = list("abcdefghijklmnop")[: MAX_PLANNED_BUBBLES + 1]
    assert _bubbles(reply="".join(letters), bubbles=letters) is None
    assert _bubbles(reply="".join(letters[1:]), bubbles=letters[1:]) is not None
