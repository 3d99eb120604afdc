"""Reliability of a judge, by hand."""

from typing import Any

import numpy as np
import pytest

from callwise.simulator.phrases import true_quality
from callwise.tuning.judge.items import ReplyItem
from callwise.tuning.judge.reliability import (
    judge_reliabilities,
    reliability_in_words,
    reliability_of,
    reliability_table,
    search_judge_items,
    search_judge_scores,
)
from callwise.tuning.judge.scores import Score, mean_values
from callwise.tuning.row import reply_id


def scores(table, by="referee:r", conversation="c", repeat=0, **more):
    """Return scores of replies a, b, c ... to turns 0, 1, 2 ... ."""
    return [
        Score(by, conversation, turn, "abcdef"[at], value, 0.0, 10.0, repeat=repeat, **more)
        for turn, row in enumerate(table)
        for at, value in enumerate(row)
        if value is not None
    ]


def compared(verdicts, conversation="c"):
    """Return comparisons of a with b, (first, second) a turn."""
    return [
        Score("referee:r", conversation, turn, "a", value, -1, 1, 0, order, "pairwise", "b")
        for turn, pair in enumerate(verdicts)
        for order, value in zip(("first", "second"), pair, strict=True)
        if value is not None
    ]


TRUTH = scores([[1, 2, 3], [3, 2, 1]], by="truth:file")


def test_the_correlation_is_a_mean_over_prompts():
    """One prompt ranked as the truth does, one half so."""
    found = reliability_of(scores([[4, 5, 6], [2, 3, 1]]), TRUTH)
    assert found.within_prompt_correlation.mean == pytest.approx((1.0 + 0.5) / 2)
    assert found.within_prompt_correlation.turns == found.prompts == 2
    assert "1 conversation has" in found.within_prompt_correlation.why_none
    assert (found.by, found.against) == ("referee:r", "truth:file")


def test_a_judge_that_knows_hard_turns_only_has_no_correlation():
    """Equal scores within a prompt recover nothing, whatever they are between prompts."""
    found = reliability_of(scores([[9, 9, 9], [1, 1, 1]]), TRUTH)
    assert found.within_prompt_correlation.mean == 0.0
    assert found.tie_rate.mean == 1.0
    assert found.top1_recovery.mean == pytest.approx(1 / 3)
    assert found.top1_recovery.mean == found.top1_by_lot.mean


def test_prompts_whose_truth_scores_all_equal_are_left_out():
    """And so are those with too few replies for a correlation."""
    truth = scores([[2, 2, 2], [3, 2, 1], [1, 2]], by="truth:file")
    found = reliability_of(scores([[1, 2, 3], [3, 2, 1], [1, 2]]), truth)
    assert found.within_prompt_correlation.turns == 1
    assert found.top1_recovery.turns == 2
    assert found.prompts == 3


def test_ties_are_counted_by_pairs_of_one_look():
    """One tie in three pairs; repeats are passes of their own."""
    found = reliability_of([*scores([[1, 1, 2]]), *scores([[1, 2, 3]], repeat=1)])
    assert found.tie_rate.mean == pytest.approx((1 / 3 + 0) / 2)


def test_repeats_correlate_with_each_other():
    """Two equal passes; a single pass has no figure."""
    both = [*scores([[1, 2, 3]]), *scores([[1, 2, 3]], repeat=1)]
    assert reliability_of(both).repeat_correlation.mean == pytest.approx(1.0)
    assert reliability_of(scores([[1, 2, 3]])).repeat_correlation is None


def test_the_best_of_several_is_the_chance_of_a_pick_by_lot():
    """Two replies share the judge's first place, and one of them is the truth's best."""
    truth = scores([[1, 2, 3]], by="truth:file")
    found = reliability_of(scores([[0, 9, 9]]), truth)
    assert found.top1_recovery.mean == pytest.approx(0.5)
    assert found.top1_by_lot.mean == pytest.approx(1 / 3)


def test_orders_agree_when_the_verdict_is_the_same():
    """The same winner twice, the first place twice, two ties, and one order only."""
    found = reliability_of(compared([(1, 1), (1, -1), (0, 0), (1, None)]))
    assert found.order_consistency.mean == pytest.approx(2 / 3)
    assert found.order_consistency.turns == 3
    assert found.tie_rate.mean == pytest.approx(1 / 4)


def test_what_cannot_be_computed_is_none():
    """Without truth, repeats and comparisons there is a tie rate, or nothing."""
    found = reliability_of(scores([[1]]))
    assert (found.within_prompt_correlation, found.top1_recovery) == (None, None)
    assert (found.tie_rate, found.order_consistency, found.against) == (None, None, "")


def test_enough_conversations_give_intervals_over_them():
    """Six conversations of a judge that is right with noise."""
    rng = np.random.default_rng(0)
    truth, judged = [], []
    for at in range(6):
        table = rng.normal(5, 1, (4, 5))
        name = f"c{at}"
        truth += scores(table.tolist(), by="human:x", conversation=name)
        judged += scores((table + rng.normal(0, 1, table.shape)).tolist(), conversation=name)
    found = reliability_of(judged, truth)
    assert found.within_prompt_correlation.conversations == 6
    assert found.within_prompt_correlation.low < 0.7 < found.within_prompt_correlation.high
    assert found.top1_by_lot.low == found.top1_by_lot.high == pytest.approx(0.2)
    assert reliability_of(judged, truth) == found


def test_scores_of_two_judges_or_of_none_are_refused():
    """A figure is of one judge."""
    with pytest.raises(ValueError, match="one judge"):
        reliability_of([])
    with pytest.raises(ValueError, match="truth:file"):
        reliability_of([*scores([[1]]), *TRUTH])


def test_several_passes_are_averaged():
    """By reply."""
    both = [*scores([[1.0]]), *scores([[3.0]], repeat=1)]
    assert mean_values(both) == {("c", 0, "a"): 2.0}


def test_a_tie_that_needed_no_call_is_none():
    """A reply equal to the reference is settled unasked, and measures nothing of the judge."""
    unasked = Score("referee:r", "c", 1, "b", 0, -1, 1, 0, "", "pairwise", "b")
    found = reliability_of([*compared([(1, 1)]), unasked])
    assert found.tie_rate.mean == 0.0
    assert found.tie_rate.turns == 1


def _turn(tree: Any) -> dict[str, Any]:
    return {"conversation_id": "a", "turn": 3, "search": {"tree": tree}}


def _candidate(name: str, reply: str, score: float, scores: int) -> dict[str, Any]:
    return {"id": name, "parent_id": None, "reply": reply, "mean_score": score, "scores": scores}


def test_a_record_of_version_1() -> None:
    """Its candidates are read as those of before."""
    record = {"search_record": 1, "candidates": [_candidate("a", "Yes.", 0.6, 2)]}
    turn = {"conversation_id": "a", "turn": 3, "search": record}
    assert [score.value for score in search_judge_scores([turn])] == [0.6]


def test_a_list_of_candidates() -> None:
    """The mean over passes; one without a score is passed over, equal texts are one."""
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


TEXTS = [f"Reply number {number}, of another kind." for number in range(5)]
TURNS = [
    {
        "conversation_id": f"c{at}",
        "turn": 0,
        "search": {
            "search_record": 1,
            "start": {},
            "candidates": [
                {
                    "id": text,
                    "parent_id": None,
                    "reply": text,
                    "mean_score": true_quality(text) / 10 + 0.5,
                    "scores": 1,
                }
                for text in TEXTS
            ],
        },
    }
    for at in range(6)
]
ITEMS = [ReplyItem(f"c{at}", 0, "", text) for at in range(6) for text in TEXTS]


def _scores(by: str, sign: float) -> list[Score]:
    return [
        Score(
            by, item.conversation, 0, reply_id(item.reply), sign * true_quality(item.reply), -9, 9
        )
        for item in ITEMS
    ]


def test_a_perfect_search_judge_compared_with_the_truth() -> None:
    """Correlation 1, and it always finds the best."""
    (judge,) = judge_reliabilities(TURNS, ITEMS, [], is_simulated=True)
    words = reliability_in_words(judge)
    assert words.startswith(
        "search judge compared with truth:simulated: within-prompt correlation 1.00"
    )
    assert "finds the best reply 100 %" in words
    table = reliability_table(judge)
    assert table.title == "Judge: search judge compared with truth:simulated"
    assert table.rows[0][:2] == ("within-prompt correlation", "1.00 (1.00 to 1.00)")


def test_the_referee_is_held_against_people_first() -> None:
    """Where nothing is simulated; and the search's judge too."""
    scores = [*_scores("referee:m", -1.0), *_scores("human:f.csv", 1.0)]
    referee, search = judge_reliabilities(TURNS, ITEMS, scores, is_simulated=False)
    assert (referee.by, referee.against) == ("referee:m", "human:f.csv")
    assert referee.within_prompt_correlation is not None
    assert round(referee.within_prompt_correlation.mean or 0.0, 6) == -1.0
    assert search.against == "human:f.csv"


def test_a_judge_without_a_reference_has_its_own_figures() -> None:
    """Ties need no second opinion."""
    (judge,) = judge_reliabilities([], ITEMS, _scores("referee:m", 1.0), is_simulated=False)
    assert judge.against == ""
    assert "ties 0 %" in reliability_in_words(judge)


def test_nothing_was_judged() -> None:
    """Then there is nothing to say."""
    assert judge_reliabilities([], [], [], is_simulated=False) == ()
