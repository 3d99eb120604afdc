"""Judging by agreement, and the leading candidates."""

import pytest

from lats.answers import Draft, Drafts, Verdict, Verdicts
from lats.ranking import agreement_scores, note_front, open_leading
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.search_state import SearchState
from lats.search_tree import Candidate


def _nodes(*said):
    nodes = []
    for place, verdict in enumerate(said):
        node = Candidate(f"n{place}", "s", 1, Draft(reply=str(place)), place + 1, verdict=verdict)
        node.checks.update({} if verdict is None else verdict.checks)
        nodes.append(node)
    return nodes


def test_without_checks_the_answer_given_most_often_wins():
    """Self-consistency."""
    nodes = _nodes(Verdict(answer="7"), Verdict(answer="12"), Verdict(answer="12"))
    assert agreement_scores(nodes) == pytest.approx({"n0": 1 / 3, "n1": 2 / 3, "n2": 2 / 3})


def test_with_checks_size_times_passed_ones_decides():
    """Two that pass both outweigh three that pass one."""
    both, one = {"a": True, "b": True}, {"a": True, "b": False}
    said = [Verdict(checks=both)] * 2 + [Verdict(checks=one)] * 3
    scores = agreement_scores(_nodes(*said))
    assert scores["n0"] == scores["n1"] == pytest.approx(4 / 7)
    assert scores["n4"] == pytest.approx(3 / 7)


def test_the_same_answer_by_other_checks_is_another_cluster():
    """Both have to agree."""
    said = [Verdict(checks={"a": True}, answer="7"), Verdict(checks={"a": False}, answer="7")]
    assert agreement_scores(_nodes(*said)) == {"n0": 1.0, "n1": 0.0}


def test_who_was_not_read_has_no_share():
    """Nor has any candidate where none passed a check."""
    assert agreement_scores(_nodes(None, Verdict(answer="7"))) == {"n0": 0.0, "n1": 1.0}
    assert agreement_scores(_nodes(Verdict(checks={"a": False}))) == {"n0": 0.0}
    assert agreement_scores([]) == {}
    assert agreement_scores(_nodes(None)) == {"n0": 0.0}


def test_a_search_by_agreement_answers_with_the_largest_cluster():
    """Its share is how sure the search is; checks of all calls count."""
    knobs = SearchKnobs(policy="listwise", judging="agreement", max_calls=3, generate_k=4)
    search = PosteriorSearch(knobs)
    for place, action in enumerate(search.ask()):
        drafts = tuple(Draft(reply=f"{place}{answer}{i}") for i, answer in enumerate("abcb"))
        search.tell(action.action_id, Drafts(drafts=drafts))
    while actions := search.ask():
        for action in actions:
            said = {i: Verdict(answer=search.tree.nodes[i].draft.reply[1]) for i in action.node_ids}
            search.tell(action.action_id, Verdicts(said))
    result = search.result()
    assert result.best.draft.reply[1] == "b"
    assert result.confidence.chance_best == pytest.approx(0.5)
    assert result.confidence.mean_score is None


def test_below_closed_leaders_the_best_open_candidate_is_improved_on():
    """Where all leaders are closed, those behind them are found, however many there are."""
    state = SearchState(SearchKnobs(policy="listwise"), Draft(reply=""))
    for place in range(30):
        node = state.tree.add(state.tree.top, Draft(reply=f"reply {place}"), prior_mean=None)
        node.judge_passes = node.score_count = 1
        node.score_sum = node.own_value = 1 - place / 40
        node.is_closed = place < 20
    note_front(state, list(state.tree.candidates))
    assert [node.draft.reply for node in open_leading(state, 2)] == ["reply 20", "reply 21"]
