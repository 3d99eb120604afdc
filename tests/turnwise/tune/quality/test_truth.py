"""The truth where there is one, and a simulated referee held against it."""

from pathlib import Path
from statistics import correlation
from typing import Any

from turnwise.simulator import SimulatedClient, SimulatedSettings, true_quality
from turnwise.tune.quality.items import ReplyItem
from turnwise.tune.quality.joining import mean_values, scale_width_of
from turnwise.tune.quality.pairwise import Pairwise, order_consistency
from turnwise.tune.quality.pointwise import Pointwise
from turnwise.tune.quality.truth import TRUTH_SCALE, read_truth, simulated_truth


def test_the_truth_of_a_simulated_reply_is_read_off_its_text() -> None:
    """In within-prompt SD, by the seed of the model that gave it; once a reply."""
    items = [ReplyItem("talk", 0, "Hi.", text) for text in ("I hear you.", "Hm.", "Hm.")]
    scores = simulated_truth(items, seed=3)
    assert len(scores) == 2
    assert {score.by for score in scores} == {"truth:simulated"}
    assert {score.value for score in scores} == {
        true_quality(text, seed=3) for text in ("I hear you.", "Hm.")
    }
    assert scale_width_of(scores) == 4.0
    assert TRUTH_SCALE == (-2.0, 2.0)


def test_a_pools_truth_is_read_like_labels(tmp_path: Path, row_of: Any) -> None:
    """Under a name of its own, and a value may lie outside of its scale."""
    path = tmp_path / "pool.csv"
    path.write_text("conversation,turn,setting,value,scale\ntalk,0,a,2.7,-2..2\n")
    labels = read_truth(path, [row_of("a", "1" * 16)])
    (score,) = labels.scores
    assert (labels.by, score.kind, score.value) == ("truth:pool.csv", "truth", 2.7)
    assert (score.scale_low, score.scale_high) == (-2.0, 2.0)


def _simulated_replies(count: int) -> list[ReplyItem]:
    """Return replies of the simulated model, four to a turn."""
    model = SimulatedClient.from_settings(SimulatedSettings()).model
    items = []
    for number in range(count):
        turn = number // 4
        text = f"What do you make of day {turn} in Lyon?"
        body = {"model": "m", "messages": [{"role": "user", "content": text}]}
        items.append(ReplyItem("talk", turn, text, model.answer(body, number % 4).text))
    return items


async def test_a_simulated_referee_sees_quality_dimly(opened: Any) -> None:
    """Its marks are valid, vary, and go with the hidden quality; more looks see more."""
    items = _simulated_replies(400)
    truth = mean_values(simulated_truth(items))
    async with opened(SimulatedClient.from_settings()) as referee:
        judged = await referee.judge(items, Pointwise(repeats=4))
    assert judged.unscored == ()
    assert judged.is_simulated
    once = mean_values(score for score in judged.scores if score.repeat == 0)
    often = mean_values(judged.scores)
    keys = sorted(often)
    true = [truth[key] for key in keys]
    seen_once = correlation([once[key] for key in keys], true)
    seen_often = correlation([often[key] for key in keys], true)
    assert 0.2 < seen_once < seen_often < 0.6
    assert all(1 <= score.value <= 10 for score in judged.scores)


async def test_a_simulated_comparison_favours_the_better_and_the_first(opened: Any) -> None:
    """Against one reference of each turn; some verdicts change with the order."""
    items = _simulated_replies(400)
    truth = mean_values(simulated_truth(items))
    references = {(item.conversation, item.turn): item for item in items}
    texts = {where: item.reply for where, item in references.items()}
    async with opened(SimulatedClient.from_settings()) as referee:
        judged = await referee.judge(items, Pairwise(texts))
    found = mean_values(score for score in judged.scores if score.order)
    keys = sorted(found)
    gains = [truth[key] - truth[references[key[0], key[1]].key] for key in keys]
    assert correlation([found[key] for key in keys], gains) > 0.15
    consistency = order_consistency(judged.scores)
    assert consistency is not None
    assert 0.4 < consistency < 0.9
    first = [score.value for score in judged.scores if score.order == "first"]
    second = [score.value for score in judged.scores if score.order == "second"]
    assert sum(first) > sum(second)
