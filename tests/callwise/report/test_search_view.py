"""A search's record read back: of both versions, and broken."""

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.report.search_view import read_search

FOLDER = Path(__file__).parent / "search"


def _record(name="small"):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def test_a_record_is_read_with_its_start_on_top():
    """Parents before children, the answer marked, figures as they were written."""
    view = read_search(_record())
    assert [node.id for node in view.nodes] == ["start", "a1", "b2", "c3", "d4"]
    assert [node.depth for node in view.nodes] == [0, 1, 1, 2, 2]
    assert [node.id for node in view.depth_first()] == ["start", "a1", "c3", "d4", "b2"]
    assert [node.id for node in view.nodes if node.is_best] == ["c3"]
    assert [node.id for node in view.nodes if node.is_dropped] == ["b2"]
    best = view.nodes[3]
    assert (best.value, best.posterior_sd, best.judge_scores) == (0.78, 0.09, {"score": 0.84})
    assert sorted(best.checks.values()) == [False, True]
    assert (view.policy, view.calls, view.rounds, view.chance_best) == ("listwise", 4, 4, 0.68)


def test_a_record_of_version_0_is_read_as_one_of_version_1():
    """Run folders of before are read by the same reader; such a record has no policy."""
    old, new = read_search(_record("small_version_0")), read_search(_record())
    shown = [
        [node.model_copy(update={"mean_value": node.value}) for node in view.nodes]
        for view in (old, new)
    ]
    assert shown[0] == shown[1]
    assert (old.policy, old.calls, old.chance_best) == ("", new.calls, new.chance_best)


def test_a_classic_tree_of_version_0_has_its_means():
    """Values were sums; a node that was never visited has none, which is not 0."""
    nodes = {
        "r": {
            "node_id": "r",
            "parent_id": None,
            "draft": {"reply": "Root.", "strategy_tag": "open"},
            "fast_score": 0.9,
            "visits": 4,
            "value_sum": 3.0,
            "judgement": {"score": 0.7, "persona": None, "reason": "warm"},
            "looks": 2,
        },
        "k": {"node_id": "k", "parent_id": "r", "draft": {"reply": "x"}, "visits": 0},
    }
    view = read_search(
        {
            "stop_reason": "rollouts_done",
            "best_id": "k",
            "rounds": 2,
            "asked": {"plan_root": 1},
            "tree": {"nodes": nodes},
        }
    )
    root, child = view.nodes
    assert (root.value, root.rule_score, root.judge_passes) == (0.75, 0.9, 2)
    assert (root.judge_scores, root.reason) == ({"score": 0.7}, "warm")
    assert (child.depth, child.value, child.is_best) == (1, None, True)
    assert view.policy == "classic_uct"


def test_records_without_the_newer_figures_are_read():
    """A figure that the writer leaves out is missing, not 0."""
    raw = _record()
    kept = ("id", "parent_id", "reply", "judge_passes", "posterior_mean")
    raw["candidates"] = [{name: each[name] for name in kept} for each in raw["candidates"]]
    del raw["confidence"]
    view = read_search({**raw, "start": {}})
    assert {node.calls for node in view.nodes} == {None}
    assert {node.posterior_sd for node in view.candidates} == {None}


def _broken(place, value):
    raw = copy.deepcopy(_record())
    target = raw
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    return raw


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("candidates",), None, "candidates"),
        (("candidates",), "nodes", "candidates"),
        (("candidates", 2), 7, "candidates.2"),
        (("candidates", 2, "id"), 7, "candidates.2.id"),
        (("candidates", 2, "judge_passes"), -1, "candidates.2.judge_passes"),
        (("candidates", 2, "posterior_mean"), float("nan"), "candidates.2.posterior_mean"),
        (("candidates", 2, "judged"), {"score": "good"}, "candidates.2.judged"),
        (("candidates", 2, "parent_id"), "nobody", "comes before its parent"),
        (("best_id",), "nobody", "best_id 'nobody' is not in its tree"),
        (("start",), None, "comes before its parent"),
        (("stop_reason",), 7, "stop_reason"),
        (("asked",), {"judge": "often"}, "asked"),
        (("rounds",), None, "rounds"),
    ],
)
def test_a_broken_record_is_named(place, value, said):
    """The error names what is wrong and where."""
    with pytest.raises(ValueError, match="no record of a search: ") as caught:
        read_search(_broken(place, value))
    assert said in str(caught.value)


def test_a_candidate_cannot_be_listed_twice():
    """Nor under the id that the start has."""
    raw = _record()
    for twin in (raw["candidates"][0], {**raw["candidates"][0], "id": "start"}):
        with pytest.raises(ValueError, match="listed twice"):
            read_search({**raw, "candidates": [*raw["candidates"], twin]})


def test_a_version_that_is_not_known_is_refused():
    """Rather than guessed at."""
    with pytest.raises(ValueError, match="version 2; versions 0 and 1 can be read"):
        read_search({**_record(), "search_record": 2})


def test_what_is_no_record_at_all_is_named():
    """An empty object lacks everything, and a list is no object."""
    with pytest.raises(ValueError, match="candidates: Field required"):
        read_search({})
    with pytest.raises(ValueError, match=r"expected an object, got \[1\]"):
        read_search([1])


def test_a_long_chain_is_no_recursion():
    """A tree may be as deep as it has nodes."""
    raw = _record()
    first = raw["candidates"][0]
    chain = [
        {**first, "id": str(place), "parent_id": str(place - 1) if place else None}
        for place in range(1500)
    ]
    view = read_search({**raw, "candidates": chain, "best_id": "7"})
    assert [node.depth for node in view.depth_first()] == list(range(1501))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "parent_id", "nodes", "node_id", "visits", "value_sum", "draft"]
            ),
            inner,
        )
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["search_record", "candidates", "tree", "best_id", "asked", "start"]), JSON
    ),
    st.booleans(),
)
def test_any_json_is_a_search_or_a_value_error(raw, has_rest):
    """Nothing else ever comes out, whatever a file has."""
    rest = {"stop_reason": "cap", "rounds": 1, "asked": {}, "best_id": None} if has_rest else {}
    try:
        view = read_search({**rest, **raw})
    except ValueError as error:
        assert "search" in str(error)  # noqa: PT017 - either end is right
    else:
        assert len(list(view.depth_first())) == len(view.nodes)
