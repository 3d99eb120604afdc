"""What the search's own judge said, read from recorded turns of either machine."""

from typing import Any

import pytest

from turnwise.tune.quality.search_judge import search_judge_items, search_judge_scores
from turnwise.tune.row import reply_id


def _turn(tree: Any) -> dict[str, Any]:
    return {"conversation_id": "a", "turn": 3, "search": {"tree": tree}}


def test_a_list_of_candidates() -> None:
    """The mean over looks; one without a score is passed over, equal texts are one."""
    tree = [
        {"reply": "Yes.", "mean_score": 0.6, "scores": 2},
        {"reply": "Yes.", "mean_score": 0.9, "scores": 2},
        {"reply": "No.", "mean_score": 0.0, "scores": 0},
    ]
    (score,) = search_judge_scores([_turn(tree)])
    assert (score.conversation, score.turn, score.value) == ("a", 3, 0.6)
    assert score.reply_id == reply_id("Yes.")
    assert [item.reply for item in search_judge_items([_turn(tree)])] == ["Yes."]


def test_nodes_by_id() -> None:
    """A node's draft and its judgement."""
    nodes = {
        "x": {"draft": {"reply": "Hm."}, "judgement": {"score": 0.4}},
        "y": {"draft": {"reply": "Ah."}, "judgement": None},
    }
    (score,) = search_judge_scores([_turn({"nodes": nodes})])
    assert (score.reply_id, score.value) == (reply_id("Hm."), 0.4)


@pytest.mark.parametrize(
    "tree", [None, 7, [], ["x"], {"nodes": []}, [{"reply": 3, "mean_score": 1}], [{"reply": "x"}]]
)
def test_other_shapes_say_nothing(tree: Any) -> None:
    """Another app's search is no error."""
    assert search_judge_scores([_turn(tree), {"conversation_id": "a", "turn": 1}]) == []
