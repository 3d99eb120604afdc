"""A turn's search as the page shows it."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from callwise.report.page.turn_search import MAX_RAW_CHARS, search_of

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
    return search["nodes"]


def test_a_record_is_shown_depth_first() -> None:
    """Beliefs, verdicts, words and marks are kept, a score of 0 too; the unknown is left out."""
    start, first, second = _drawn(
        {
            "search_record": 1,
            "best_id": "b",
            "start": {},
            "candidates": [
                {
                    "id": "a",
                    "parent_id": None,
                    "reply": "One.",
                    "strategy_tag": "plain",
                    "posterior_mean": 0.0,
                    "posterior_sd": 0.1,
                    "judge_passes": 2,
                    "is_dropped": True,
                    "judged": {"score": 0.5, "warmth": 0.75, "reason": "flat"},
                },
                {"id": "b", "parent_id": "a", "reply": "Two.", "posterior_mean": None},
            ],
        }
    )
    assert start == {"depth": 0, "start": True}
    assert first == {
        "depth": 1,
        "reply": "One.",
        "tag": "plain",
        "score": 0.0,
        "sd": 0.1,
        "judged": [("score", 0.5), ("warmth", 0.75)],
        "words": "flat",
        "figures": [("visits", 0), ("judge_passes", 2), ("scores", 0)],
        "dropped": True,
    }
    assert (second["depth"], second["reply"], second["best"]) == (2, "Two.", True)


def test_the_last_judgement_and_the_plain_figures_are_shown() -> None:
    """Inner objects by dotted names; the tree and fields shown elsewhere are left out."""
    search = search_of(
        {
            "search_record": 1,
            "stop_reason": "cap",
            "rounds": 4,
            "asked": {"judge": 2},
            "final_judgement": {"score": 0.5, "reason": "fits"},
            "candidates": [],
        }
    )
    assert search is not None
    assert (search["final"], search["final_words"]) == ([("score", 0.5)], "fits")
    assert (search["stop"], search["facts"]) == ("cap", [("rounds", 4), ("asked.judge", 2)])


def test_what_cannot_be_read_is_shown_as_recorded() -> None:
    """Another app's record is kept as text, cut where it is long."""
    search = search_of({"tree": ["x" * MAX_RAW_CHARS * 2]})
    assert search is not None
    assert search["nodes"] == []
    assert len(search["raw"]) < MAX_RAW_CHARS + 100
    assert "characters more" in search["raw"]
    assert search_of({}) is None


@given(
    st.dictionaries(
        st.sampled_from(["tree", "candidates", "search_record", "best_id", "final_judgement", "x"]),
        JSON,
    )
)
def test_any_json_gives_a_search(raw: dict[str, Any]) -> None:
    """Nothing that JSON can hold is an error, and what comes out is JSON again."""
    search = search_of(raw)
    if search is not None:
        json.dumps(search, allow_nan=False)
