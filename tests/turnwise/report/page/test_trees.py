"""Search trees of any shape, as a flat list to draw from."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.report.page.trees import MAX_RAW_CHARS, search_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "parent_id", "nodes", "children", "reply", "judged", "score", "visits"]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


def _drawn(raw: dict[str, Any]) -> list[dict[str, Any]]:
    search = search_of(raw)
    assert search is not None
    return [node.as_json() for node in search.nodes]


def test_a_posterior_tree_is_read() -> None:
    """Beliefs, verdicts, words and marks of candidate records are kept, a score of 0 too."""
    first, second = _drawn(
        {
            "best_id": "b",
            "tree": [
                {
                    "id": "a",
                    "parent_id": None,
                    "reply": "One.",
                    "strategy_tag": "plain",
                    "posterior_mean": 0.0,
                    "posterior_sd": 0.1,
                    "looks": 2,
                    "is_dropped": True,
                    "judged": {"score": 0.5, "warmth": 0.75, "reason": "flat"},
                },
                {"id": "b", "parent_id": "a", "reply": "Two.", "posterior_mean": None},
            ],
        }
    )
    assert first == {
        "depth": 0,
        "reply": "One.",
        "tag": "plain",
        "score": 0.0,
        "sd": 0.1,
        "judged": [("score", 0.5), ("warmth", 0.75)],
        "words": "flat",
        "figures": [("looks", 2)],
        "dropped": True,
    }
    assert second == {"depth": 1, "reply": "Two.", "best": True}


def test_a_classic_tree_is_read() -> None:
    """The score of a node is the mean of its visits; a node without visits has none."""
    search = search_of(
        {
            "best_id": "k",
            "final_judgement": {"score": 0.5, "reason": "fits"},
            "tree": {
                "nodes": {
                    "r": {
                        "node_id": "r",
                        "parent_id": None,
                        "draft": {"reply": "Root.", "strategy_tag": "open"},
                        "visits": 4,
                        "value_sum": 3.0,
                        "judgement": {"score": 0.7, "reason": "warm"},
                    },
                    "k": {"node_id": "k", "parent_id": "r", "visits": 0, "value_sum": 0.0},
                }
            },
        }
    )
    assert search is not None
    root, child = search.nodes
    assert (root.reply, root.tag, root.score, root.words) == ("Root.", "open", 0.75, "warm")
    assert (child.depth, child.score, child.is_best) == (1, None, True)
    assert (search.final, search.final_words) == ([("score", 0.5)], "fits")


def test_records_inside_records_are_read() -> None:
    """A tree whose nodes hold their children is read as well."""
    tree = {"text": "top", "children": [{"text": "a", "children": [{"text": "b"}]}, {"text": "c"}]}
    assert [(node["depth"], node["reply"]) for node in _drawn({"tree": tree})] == [
        (0, "top"),
        (1, "a"),
        (2, "b"),
        (1, "c"),
    ]


@pytest.mark.parametrize(
    "records",
    [
        [{"id": "a", "parent_id": "b"}, {"id": "b", "parent_id": "a"}],
        [{"id": "a", "parent_id": "a"}, {"id": "b", "parent_id": "nowhere"}],
        [{"id": "a"}, {"id": "a"}],
        [{}, {}],
    ],
    ids=["a ring", "hangs on nothing", "twins", "nameless"],
)
def test_broken_trees_lose_no_node(records: list[dict[str, Any]]) -> None:
    """Every record is drawn once, whatever its parent is said to be."""
    assert len(_drawn({"tree": records})) == len(records)


def test_what_cannot_be_drawn_is_shown_as_recorded() -> None:
    """An unknown shape is kept as text, cut where it is long."""
    search = search_of({"tree": ["x" * MAX_RAW_CHARS * 2]})
    assert search is not None
    assert search.nodes == []
    assert len(search.raw) < MAX_RAW_CHARS + 100
    assert "characters more" in search.raw
    assert search_of({}) is None


@given(st.dictionaries(st.sampled_from(["tree", "best_id", "final_judgement", "x"]), JSON))
def test_any_json_gives_a_search(raw: dict[str, Any]) -> None:
    """Nothing that JSON can hold is an error, and what comes out is JSON again."""
    search = search_of(raw)
    if search is not None:
        json.dumps(search.as_json(), allow_nan=False)
