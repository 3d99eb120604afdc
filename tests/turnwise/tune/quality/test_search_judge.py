"""What the search's own judge said, read from recorded turns of either machine."""

from typing import Any

import pytest

from turnwise.tune.quality.scores import reply_id
from turnwise.tune.quality.search_judge import search_judge_items, search_judge_scores


def _turn(tree: Any) -> dict[str, Any]:
    return {"conversation_id": "a", "turn": 3, "search": {"tree": tree}}


def _candidate(name: str, reply: str, score: float, scores: int) -> dict[str, Any]:
    return {"id": name, "parent_id": None, "reply": reply, "mean_score": score, "scores": scores}


def test_a_list_of_candidates() -> None:
    """The mean over looks; one without a score is passed over, equal texts are one."""
    tree = [
        _candidate("a", "Yes.", 0.6, 2),
        _candidate("b", "Yes.", 0.9, 2),
        _candidate("c", "No.", 0.0, 0),
    ]
    (score,) = search_judge_scores([_turn(tree)])
    assert (score.conversation, score.turn, score.value) == ("a", 3, 0.6)
    assert score.reply_id == reply_id("Yes.")
    assert [item.reply for item in search_judge_items([_turn(tree)])] == ["Yes."]


def test_nodes_by_id() -> None:
    """A node's draft and its judgement."""
    nodes = {
        "x": {
            "node_id": "x",
            "parent_id": None,
            "draft": {"reply": "Hm."},
            "judgement": {"score": 0.4},
        },
        "y": {"node_id": "y", "parent_id": "x", "draft": {"reply": "Ah."}, "judgement": None},
    }
    (score,) = search_judge_scores([_turn({"nodes": nodes})])
    assert (score.reply_id, score.value) == (reply_id("Hm."), 0.4)


@pytest.mark.parametrize(
    "tree", [None, 7, [], ["x"], {"nodes": []}, [{"reply": 3, "mean_score": 1}], [{"reply": "x"}]]
)
def test_other_shapes_say_nothing(tree: Any) -> None:
    """Another app's search is no error."""
    assert search_judge_scores([_turn(tree), {"conversation_id": "a", "turn": 1}]) == []


def test_a_record_of_version_1() -> None:
    """Its candidates are read as those of before."""
    record = {"search_record": 1, "candidates": [_candidate("a", "Yes.", 0.6, 2)]}
    turn = {"conversation_id": "a", "turn": 3, "search": record}
    assert [score.value for score in search_judge_scores([turn])] == [0.6]
