"""The simulated judge errs as the recorded ones do."""

import ast
import dataclasses
import inspect
import re
import statistics
import textwrap
from typing import Annotated

import pytest
from pydantic import BaseModel, Field

from callwise.simulator import SimulatedModel, SimulatedSettings
from callwise.simulator.faults import SeededStream
from callwise.simulator.judge import (
    JUDGE_CALIBRATION,
    JudgeCalibration,
    JudgePassNoise,
    SimulatedJudge,
    judge_weights,
)
from callwise.simulator.phrases import weighted_phrases
from callwise.simulator.scene import compose, render

PROMPTS, REPLIES = 500, 4


class Score(BaseModel):
    """The answer of a pointwise judge."""

    score: Annotated[float, Field(ge=0, le=1)]


class Row(BaseModel):
    """One line of a listwise judge."""

    id: str
    score: Annotated[float, Field(ge=0, le=1)]


class Listwise(BaseModel):
    """The answer of a listwise judge."""

    scores: list[Row]
    ranking: list[str]


def random_replies(count):
    """Return replies of random quality."""
    draws = SeededStream(17)
    slots = weighted_phrases(0).slots["en"]["telling"]
    return [render(slots, compose(slots, draws), "this and that") for _ in range(count)]


def centred(rows):
    """Return all values less the mean of their prompt."""
    return [value - statistics.fmean(row) for row in rows for value in row]


def measured(body_of, settings):
    """Return correlation with truth, tie rate, and correlation and equality of repeats."""
    model = SimulatedModel(settings=settings)
    replies = iter(random_replies(PROMPTS * REPLIES))
    truths, first, second = [], [], []
    for prompt in range(PROMPTS):
        batch = [next(replies) for _ in range(REPLIES)]
        bodies = [
            body_of({"user_text": f"turn {prompt}", "reply": reply}, Score) for reply in batch
        ]
        truths.append([model.true_quality(reply) for reply in batch])
        for rows, sample in ((first, 0), (second, 1)):
            rows.append(
                [Score.model_validate_json(model.answer(b, sample).text).score for b in bodies]
            )
    pairs = [
        row[left] == row[right] for row in first for left in range(REPLIES) for right in range(left)
    ]
    return {
        "truth_r": statistics.correlation(centred(first), centred(truths)),
        "repeat_r": statistics.correlation(centred(first), centred(second)),
        "tie_rate": statistics.fmean(pairs),
        "repeat_equal": statistics.fmean(
            a == b for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True)
        ),
    }


def test_simulated_judge_shows_the_calibrated_figures(body_of):
    """Measured on its own answers: correlations as calibrated. Scores hardly tie."""
    figures = measured(body_of, SimulatedSettings(missing_score_rate=0))
    for name in ("truth_r", "repeat_r"):
        assert abs(figures[name] - getattr(JUDGE_CALIBRATION, name)) < 0.07, (name, figures)
    assert figures["tie_rate"] < 0.05
    assert figures["repeat_equal"] < 0.08


@pytest.mark.slow
def test_accuracy_can_be_set(body_of):
    """`judge_accuracy` is what one score correlates by, up to what the draw of a score allows."""
    for accuracy in (0.0, 0.6):
        figures = measured(body_of, SimulatedSettings(judge_accuracy=accuracy))
        assert abs(figures["truth_r"] - accuracy) < 0.07
    assert judge_weights(1.0, JUDGE_CALIBRATION).noise == 0.0


def test_weights_are_a_unit():
    """The latent reading keeps SD 1 whatever the accuracy."""
    for accuracy in (None, 0.0, 0.3, 0.8, 1.0):
        weights = judge_weights(accuracy, JUDGE_CALIBRATION)
        assert abs(weights.truth**2 + weights.bias**2 + weights.noise**2 - 1) < 0.002


def test_judge_is_monotone_in_truth_on_average(body_of):
    """Better thirds of replies get better mean scores."""
    model = SimulatedModel()
    replies = sorted(random_replies(1500), key=model.true_quality)
    means = []
    for third in (replies[:500], replies[500:1000], replies[1000:]):
        answers = [model.answer(body_of({"reply": reply}, Score)).text for reply in third]
        means.append(statistics.fmean(Score.model_validate_json(text).score for text in answers))
    assert means[0] < means[1] < means[2]


def test_bias_repeats_with_the_rubric_and_partly_with_the_reply():
    """The same rubric errs alike; another field or another rubric only partly so."""
    judge = SimulatedJudge(0)
    letters = [f"reply{n}" for n in range(3000)]
    base = [judge.bias(text, "r", "score") for text in letters]
    assert base == [judge.bias(text, "r", "score") for text in letters]
    other_rubric = statistics.correlation(base, [judge.bias(t, "s", "score") for t in letters])
    other_field = statistics.correlation(base, [judge.bias(t, "r", "persona") for t in letters])
    assert abs(other_rubric - JUDGE_CALIBRATION.bias_r_same_field) < 0.06
    assert abs(other_field - JUDGE_CALIBRATION.bias_r_other_field) < 0.06


def test_the_first_item_of_a_list_is_favoured(body_of):
    """In a list the first item gains and the last loses, whatever the items are."""
    model = SimulatedModel()
    replies = random_replies(1200)
    first = 0
    for start in range(0, 1200, 2):
        pair = replies[start : start + 2]
        for order in (pair, pair[::-1]):
            shown = [{"id": f"c{i}", "reply": reply} for i, reply in enumerate(order)]
            text = model.answer(body_of({"candidates": shown}, Listwise)).text
            first += Listwise.model_validate_json(text).ranking[0] == "c0"
    assert 0.53 < first / 1200 < 0.75


def test_drift_cancels_between_items_of_one_call():
    """Two items of one call differ less by noise than two calls do."""
    judge, draws = SimulatedJudge(0), SeededStream(1)
    reading = weighted_phrases(0).read("some text")
    within, across = [], []
    for _ in range(3000):
        this, other = JudgePassNoise(judge, "r", draws), JudgePassNoise(judge, "r", draws)
        one = this.item(reading).latent("score")
        within.append(one - this.item(reading).latent("score"))
        across.append(one - other.item(reading).latent("score"))
    assert statistics.pstdev(within) < 0.93 * statistics.pstdev(across)


def test_assistant_phrases_raise_assistantness():
    """A reply of assistant phrases has a higher assistantness than one without."""
    phrases = weighted_phrases(0)
    judge_pass = JudgePassNoise(SimulatedJudge(0), "r", SeededStream(2))
    plain = judge_pass.item(phrases.read("Wait, really? Who started it?"))
    assistant = judge_pass.item(
        phrases.read("That is a great question! Is there anything else I can help you with?")
    )
    assert plain.assistantness() < 0.35 < assistant.assistantness()


def test_every_figure_has_its_source():
    """The line below each figure describes it and ends with measured, solved or assumed."""
    (cls,) = ast.parse(textwrap.dedent(inspect.getsource(JudgeCalibration))).body
    figures = [each for each in cls.body if isinstance(each, ast.AnnAssign)]
    assert len(figures) == len(dataclasses.fields(JudgeCalibration))
    for figure in figures:
        below = cls.body[cls.body.index(figure) + 1]
        assert re.search(r"\.\s+(Measured|Solved|Assumed)\b", below.value.value), figure.target.id
