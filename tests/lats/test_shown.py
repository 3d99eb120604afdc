"""The records that trees are drawn from: live, written, read again, and broken."""

import copy
import json

import pytest

from lats.actions import Kind
from lats.classic_uct import ClassicUct
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.shown import candidate_records, plain_line, shown_from_json, shown_tree, tree_as_json

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


@pytest.fixture(params=SEARCHES, ids=lambda case: f"{case[0]}-{case[1]}-{case[2]}")
def result(request, play, moves_model):
    """The result of a posterior search, good or troubled."""
    policy, cap, how = request.param
    search = PosteriorSearch(SearchKnobs(policy=policy, max_calls=cap))
    return play(search, moves_model(**how))[0].result()


@pytest.fixture
def written(play, moves_model):
    """A posterior search of 6 calls as JSON."""
    search = PosteriorSearch(SearchKnobs(policy="listwise", max_calls=6))
    return tree_as_json(play(search, moves_model())[0].result())


def test_what_candidates_cost_adds_up_to_the_calls(result):
    """No call is lost and none is counted twice, failures included."""
    tree = shown_tree(result)
    assert sum(node.calls for node in tree.nodes) == pytest.approx(result.calls)
    assert tree.calls == result.calls


@pytest.mark.parametrize("seed", range(3))
def test_what_classic_replies_cost_adds_up_to_the_calls(scripted, drive, context, seed):
    """A top-up, assistant checks and the second look included."""
    search = ClassicUct(SearchKnobs(assistant_check_top_n=2, soft_top_n=2), context)
    drive(search, scripted(seed=seed, alike=True))
    result = search.result()
    assert Kind.TOP_UP in result.asked
    assert sum(node.calls for node in shown_tree(result).nodes) == result.calls


def test_a_search_read_from_json_is_the_live_one(result):
    """But for the digits that are written, and the id of the start."""
    live, read = shown_tree(result), shown_from_json(json.loads(json.dumps(tree_as_json(result))))
    assert (live.kind, live.head, live.chance_best) == (read.kind, read.head, read.chance_best)
    assert len(live.nodes) == len(read.nodes)
    for one, other in zip(live.candidates, read.candidates, strict=True):
        assert (one.node_id, one.reply, one.depth) == (other.node_id, other.reply, other.depth)
        assert (one.is_best, one.is_dropped, one.looks) == (
            other.is_best,
            other.is_dropped,
            other.looks,
        )
        assert other.sd == (None if one.sd is None else round(one.sd, 4))
        assert one.reason == other.reason


def test_a_classic_search_read_from_json_is_the_live_one(scripted, drive, context):
    """The tree that a turn's record holds says all that is drawn."""
    search = ClassicUct(SearchKnobs(), context)
    drive(search, scripted())
    result = search.result()
    raw = json.loads(json.dumps(tree_as_json(result)))
    assert shown_from_json(raw) == shown_tree(result)
    del raw["kind"], raw["confidence"]
    raw |= {"rollouts_done": 4, "failed": {}}
    assert shown_from_json(raw) == shown_tree(result)


def test_records_without_the_newer_figures_are_read(written):
    """What a writer leaves out is missing, not 0."""
    kept = ("id", "parent_id", "reply", "looks", "posterior_mean")
    written["tree"] = [{name: record[name] for name in kept} for record in written["tree"]]
    del written["kind"], written["start"], written["confidence"]
    tree = shown_from_json(written)
    assert {node.calls for node in tree.nodes} == {None}
    assert {node.sd for node in tree.candidates} == {None}


def test_who_was_given_up_is_dropped_with_all_below(play, moves_model):
    """Halving keeps its survivors and what grew from them."""
    search = PosteriorSearch(SearchKnobs(policy="halving", max_calls=16))
    result = play(search, moves_model())[0].result()
    nodes = {node.node_id: node for node in shown_tree(result).candidates}
    kept = {node.node_id for node in nodes.values() if node.depth == 1 and not node.is_dropped}
    assert kept == set(result.survivors)
    for node in nodes.values():
        if node.depth > 1:
            assert node.is_dropped == nodes[node.parent_id].is_dropped


def test_a_belief_is_shown_for_whoever_has_a_score(result):
    """Candidates that no judge was heard on have none."""
    for node in shown_tree(result).candidates:
        assert (node.sd is not None) == (node.scores > 0)


def _broken(raw, place, value):
    raw = copy.deepcopy(raw)
    target = raw
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    return raw


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("tree",), None, "tree.classic"),
        (("tree",), "nodes", "tree.classic"),
        (("tree", 2, "id"), 7, "tree.posterior.2.id"),
        (("tree", 2, "looks"), -1, "tree.posterior.2.looks"),
        (("tree", 2, "posterior_mean"), float("nan"), "tree.posterior.2.posterior_mean"),
        (("tree", 2, "judged"), {"score": "good"}, "tree.posterior.2.judged"),
        (("tree", 2, "parent_id"), "nobody", "comes before its parent"),
        (("best_id",), "nobody", "best_id 'nobody' is not in its tree"),
        (("stop_reason",), "boredom", "stop_reason"),
        (("asked",), {"pray": 1}, "asked"),
        (("rounds",), None, "rounds"),
    ],
)
def test_a_broken_record_is_named(written, place, value, said):
    """The error says what is wrong and where."""
    with pytest.raises(ValueError, match="no record of a search: ") as caught:
        shown_from_json(_broken(written, place, value))
    assert said in str(caught.value)


def test_a_candidate_cannot_stand_there_twice(written):
    """Nor under the id that the start has."""
    for twin in (written["tree"][0], {**written["tree"][0], "id": "start"}):
        raw = {**written, "tree": [*written["tree"], twin]}
        with pytest.raises(ValueError, match="stands there twice"):
            shown_from_json(raw)


def test_what_is_no_record_at_all_is_named():
    """An empty object lacks everything."""
    with pytest.raises(ValueError, match="stop_reason: Field required"):
        shown_from_json({})


def test_a_classic_search_has_no_candidate_records(context):
    """Its tree is its own record."""
    with pytest.raises(TypeError, match="write its tree"):
        candidate_records(ClassicUct(SearchKnobs(), context).result())


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\nlines\r\n\tand more", "two lines and more"),
        ("\x1b[2Jcleared \x9b31m", "[2Jcleared 31m"),
        ("\u202egnp.exe\u202c \u2066x\u2069", "gnp.exe x"),
        ("half \ud83d a pair", "half \ufffd a pair"),
        ("not a char \ufffe", "not a char \ufffd"),
        ("family 👩‍👧 stays", "family 👩‍👧 stays"),
        ("line\u2028separator", "line separator"),
        ("شكرا", "شكرا"),
        ("", ""),
    ],
)
def test_a_shown_line_holds_nothing_that_is_obeyed(text, line):
    """Control characters and turns of direction go, letters of any script stay."""
    assert plain_line(text) == line


def test_a_long_line_is_cut():
    """With an ellipsis in the last place."""
    assert plain_line("one two three", 7) == "one tw…"
    assert plain_line("one two", 7) == "one two"
