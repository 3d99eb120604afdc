"""Search trees as data, read from records that cannot be trusted."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnwise.tune.figures import search_tree_of


def _candidate(name, parent=None, **fields):
    return {"id": name, "parent_id": parent, "reply": f"reply {name}", "strategy_tag": "tag",
            "posterior_mean": 0.5, "posterior_sd": 0.1, "visits": 2, **fields}  # fmt: skip


def test_candidates_stand_below_one_start() -> None:
    """Leaves side by side, a parent beside the middle of its children."""
    tree = [_candidate("a"), _candidate("b"), _candidate("c", "b"), _candidate("d", "b")]
    found = search_tree_of({"tree": tree, "best_id": "d", "asked": {"generate": 2, "judge": 3},
                            "rounds": 4, "stop_reason": "cap"}, where="turn 1")  # fmt: skip
    assert [(n.label, n.depth, n.slot, n.is_pick) for n in found.nodes] == [
        ("start", 0, 0.75, False),
        ("tag", 1, 0.0, False),
        ("tag", 1, 1.5, False),
        ("tag", 2, 1.0, False),
        ("tag", 2, 2.0, True),
    ]
    assert (found.leaves, found.calls, found.rounds) == (3, 5, 4)
    assert found.caption.startswith("One turn: 4 replies, 5 calls, 4 rounds, stopped by cap.")


def test_a_tree_of_sums_has_its_means() -> None:
    """A node that was never visited has no score, which is not 0."""
    nodes = {
        "r": {"node_id": "r", "parent_id": None, "draft": {"reply": "x", "strategy_tag": "t"},
              "visits": 4, "value_sum": 3.0},
        "k": {"node_id": "k", "parent_id": "r", "visits": 0, "value_sum": 0.0},
    }  # fmt: skip
    found = search_tree_of({"tree": {"nodes": nodes}, "best_id": "r"}, is_simulated=True)
    assert [(node.score, node.visits, node.is_pick) for node in found.nodes] == [
        (0.75, 4, True),
        (None, 0, False),
    ]
    assert "Simulated" in found.caption


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({}, "no `tree`"),
        ({"tree": []}, "no nodes"),
        ({"tree": "x"}, "a `tree` that is str"),
        ({"tree": {"nodes": [1]}}, "a `tree` that is dict"),
        ({"tree": {"nodes": {"a": 1}}}, "node 'a' is no object"),
        ({"tree": [1]}, "candidate 0 is no object"),
        ({"tree": [{"id": 3}]}, "expected `id` as text, got 3"),
        ({"tree": [{"id": ""}]}, "expected `id` as text"),
        ({"tree": [{}]}, "candidate 0 has no `id`"),
        ({"tree": [_candidate("a"), _candidate("a")]}, "'a' stands there twice"),
        ({"tree": [_candidate("a", "b"), _candidate("b")]}, "'a' comes before its parent"),
        ({"tree": [_candidate("a", "a")]}, "'a' comes before its parent"),
        ({"tree": [_candidate("a", posterior_mean="high")]}, "`posterior_mean` as a number"),
        ({"tree": [_candidate("a", posterior_mean=float("nan"))]}, "as a number"),
        ({"tree": [_candidate("a", visits=-1)]}, "`visits` of 0 or more"),
        ({"tree": [_candidate("a")], "best_id": "z"}, "best_id 'z' is not in it"),
        ({"tree": [_candidate(str(n)) for n in range(2001)]}, "at most 2000"),
        (
            {"tree": {"nodes": {"a": {"node_id": "a"}, "b": {"node_id": "b"}}}},
            "'b' is a second top",
        ),
    ],
)
def test_what_is_no_tree_is_named(search, message) -> None:
    """The first thing that is wrong, and where."""
    with pytest.raises(ValueError, match=message):
        search_tree_of(search)


def test_a_long_chain_is_no_recursion() -> None:
    """A tree may be as deep as it has nodes."""
    tree = [_candidate("0")] + [_candidate(str(n), str(n - 1)) for n in range(1, 1500)]
    assert search_tree_of({"tree": tree}).nodes[-1].depth == 1500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "parent_id", "nodes", "node_id", "visits", "tree", "draft"]),
            inner,
        )
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["tree", "best_id", "asked", "rounds"]), JSON))
def test_any_json_is_a_tree_or_a_value_error(search) -> None:
    """Nothing else ever comes out, whatever a file holds."""
    try:
        found = search_tree_of(json.loads(json.dumps(search)))
    except ValueError as error:
        assert "search" in str(error)  # noqa: PT017 - either end is right
    else:
        assert found.leaves >= 1
        assert found.caption
