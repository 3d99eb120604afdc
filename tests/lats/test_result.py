"""Results of searches and their records, good and troubled."""

import json

import pytest

from callwise.report.search_svg import search_svg
from callwise.report.search_view import read_search
from lats.actions import ActionKind
from lats.classic_uct import ClassicUct
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs

SEARCHES = [
    ("listwise", 6, {}),
    ("listwise", 6, {"judge": "fewer"}),
    ("halving", 16, {}),
    ("halving", 16, {"failing": 0.3}),
    ("posterior_uct", 12, {"proposer": "steps"}),
    ("best_of_n", 4, {"judge": "fails"}),
    ("listwise", 6, {"proposer": "fails"}),
    ("listwise", 3, {"judge": "empty"}),
]

KEYS = [
    "search_record",
    "policy",
    "stop_reason",
    "best_id",
    "rounds",
    "rollouts_done",
    "asked",
    "failed",
    "planned_cap",
    "confidence",
    "judges",
    "final_judgement",
    "guidelines",
    "wound_down",
    "start",
    "candidates",
]


@pytest.fixture(params=SEARCHES, ids=lambda case: f"{case[0]}-{case[1]}-{case[2]}")
def result(request, play, actions_model):
    """The result of a posterior search, good or troubled."""
    policy, cap, how = request.param
    search = PosteriorSearch(SearchKnobs(policy=policy, max_calls=cap))
    return play(search, actions_model(**how))[0].result()


@pytest.fixture
def classic(scripted, drive, context):
    """The result of a classic search with a top-up, checks and a second reading."""
    search = ClassicUct(SearchKnobs(assistant_check_top_n=2, soft_top_n=2), context)
    drive(search, scripted(seed=1, alike=True))
    return search.result()


def _read(result):
    record = result.record()
    assert json.loads(json.dumps(record)) == record
    assert list(record) == KEYS
    return read_search(record)


def test_costs_of_candidates_add_up_to_the_calls(result):
    """No call is lost and none is counted twice, failures included."""
    assert sum(result.costs().values()) == pytest.approx(result.calls)


@pytest.mark.parametrize("seed", range(3))
def test_costs_of_classic_replies_add_up_to_the_calls(scripted, drive, context, seed):
    """A top-up, assistant checks and the second reading included."""
    search = ClassicUct(SearchKnobs(assistant_check_top_n=2, soft_top_n=2), context)
    drive(search, scripted(seed=seed, alike=True))
    result = search.result()
    assert ActionKind.TOP_UP in result.asked
    assert sum(result.costs().values()) == result.calls


def test_a_record_reads_as_the_search_was(result):
    """Candidate by candidate, but for the digits that are not written."""
    view, costs, dropped = _read(result), result.costs(), result.dropped()
    assert (view.policy, view.calls, view.rounds) == (result.policy, result.calls, result.rounds)
    assert view.nodes[0].is_start
    for read, node in zip(view.candidates, result.tree.candidates, strict=True):
        assert (read.id, read.reply, read.depth) == (
            node.node_id,
            node.draft.reply,
            node.depth,
        )
        assert read.is_best == (node is result.best)
        assert read.is_dropped == (node.node_id in dropped)
        assert (read.judge_passes, read.scores) == (node.judge_passes, node.score_count)
        assert read.calls == round(costs[node.node_id], 4)
        belief = result.belief_of(node)
        assert (belief is None) == (node.score_count == 0)
        assert read.posterior_sd == (None if belief is None else round(belief.sd, 4))
        assert read.reason == ("" if node.verdict is None else node.verdict.reason)


def test_a_classic_record_reads_as_the_search_was(classic):
    """It has no start; its values are means of visits, and checks are kept."""
    view = _read(classic)
    assert (view.policy, view.calls) == ("classic_uct", classic.calls)
    for read, node in zip(view.nodes, classic.tree.candidates, strict=True):
        assert (read.id, read.parent_id, read.depth) == (
            node.node_id,
            node.parent_id,
            node.depth,
        )
        assert read.value == (round(node.mean_value, 4) if node.visits else None)
        assert read.rule_score == round(node.rule_score, 4)
        assert (read.assistantness, read.posterior_sd) == (node.assistantness, None)
    assert any(read.assistantness is not None for read in view.nodes)
    judged = classic.record()["final_judgement"]
    assert judged["score"] == classic.final_judgement.score


def test_what_halving_drops_is_dropped_with_all_below(play, actions_model):
    """Survivors and what grew from them are kept."""
    search = PosteriorSearch(SearchKnobs(policy="halving", max_calls=16))
    result = play(search, actions_model())[0].result()
    dropped, nodes = result.dropped(), result.tree.nodes
    kept = {n.node_id for n in result.tree.candidates if n.depth == 1 and n.node_id not in dropped}
    assert kept == set(result.survivors)
    for node in result.tree.candidates:
        if node.depth > 1:
            assert (node.node_id in dropped) == (nodes[node.parent_id].node_id in dropped)


def test_a_record_is_drawn(result, classic):
    """A box a node."""
    for each in (result, classic):
        drawn = search_svg(_read(each)).count("<g ")
        assert drawn == (len(each.tree.nodes) if len(each.tree) else 0)
