"""Policies by name."""

import pkgutil

import pytest

from lats import strategies
from lats.answers import Drafts
from lats.classic_uct import ClassicUct
from lats.policies import resume_search, start_search
from lats.reflection import Guideline
from lats.result import StateError
from lats.rule_score import RuleScore
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.strategies import STRATEGIES

POLICIES = ("classic_uct", *STRATEGIES)


def test_knobs_take_the_names_of_the_strategies():
    """Each module of strategies is in the table, and the knobs' schema lists the table."""
    assert {module.name for module in pkgutil.iter_modules(strategies.__path__)} == set(STRATEGIES)
    policy = SearchKnobs.model_json_schema()["properties"]["policy"]
    assert policy["enum"] == list(POLICIES)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_search_is_started_and_resumed_by_its_name(context, policy):
    """The state names its policy."""
    search = start_search(SearchKnobs(policy=policy), context)
    wanted = ClassicUct if policy == "classic_uct" else PosteriorSearch
    assert isinstance(search, wanted)
    first = [each.action_id for each in search.ask()]
    again = resume_search(search.state_dict(), context)
    assert isinstance(again, wanted)
    assert [each.action_id for each in again.ask()] == first
    assert isinstance(resume_search(search.state_dict()), wanted)


def test_guidelines_reach_the_first_round(context):
    """Of every policy that has use for them."""
    told = [Guideline("wit", "wit: mind it.", 2)]
    for policy in STRATEGIES:
        search = start_search(SearchKnobs(policy=policy), context, guidelines=told)
        assert search.ask()[0].guidelines == ("wit: mind it.",)
    assert start_search(SearchKnobs(), context, guidelines=told).ask()


def test_the_rule_score_breaks_ties_before_and_after_a_resume(context, actions_model, play):
    """Where a judge ties everything, the reply that the rules like best is the answer."""
    search = start_search(SearchKnobs(policy="best_of_n", max_calls=2), context)
    model = actions_model(judge="ties")
    (action,) = search.ask()
    replies = ["", "word " * 400, "That is big. What scares you most about it?"]
    drafts = model.answer(action).drafts
    made = [each.model_copy(update={"reply": r}) for each, r in zip(drafts, replies, strict=False)]
    search.tell(action.action_id, Drafts(drafts=tuple(made)))
    search, _ = play(search, model)
    best = search.result().best
    scores = {n.node_id: RuleScore(context)(n.draft.reply) for n in search.tree.candidates}
    assert scores[best.node_id] == max(scores.values())
    assert resume_search(search.state_dict(), context).result().best.node_id == best.node_id


@pytest.mark.parametrize("state", [{}, {"policy": "guess"}, {"policy": None, "version": 1}])
def test_a_state_of_no_policy_is_refused_by_name(state):
    """With the names that there are."""
    with pytest.raises(StateError, match=r"expected classic_uct or .*'auto'"):
        resume_search(state)
