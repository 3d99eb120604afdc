"""The simulated model gives log-probabilities of its scores."""

import json
import math
import statistics
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from callwise.calls import Sampling
from callwise.simulator import SimulatedModel, SimulatedSettings
from callwise.simulator.faults import SeededStream
from callwise.simulator.judge import (
    JUDGE_CALIBRATION,
    AnswerOdds,
    JudgePassNoise,
    SimulatedJudge,
    with_levels,
)
from callwise.simulator.model import malformed
from callwise.simulator.phrases import weighted_phrases
from callwise.simulator.scene import compose, render
from lats.logprob_scores import expected_scores

Unit = Annotated[float, Field(ge=0, le=1)]


class Row(BaseModel):
    """A verdict on one reply, with a whole number and text between its scores."""

    id: str
    overall: Unit
    risk: Unit
    reason: str
    persona: Annotated[int, Field(ge=1, le=10)]
    assistantness: Unit


class Verdict(BaseModel):
    """The answer of a listwise judge."""

    scores: list[Row]
    best: str


CANDIDATES = {
    "user_text": 'I ran 12 km, "again".',
    "candidates": [{"id": f"c{n}", "reply": f"Reply number {n}."} for n in (1, 2, 3)],
}


def judged(body_of, top=5, material=None, **fields):
    """Return an answer, with log-probabilities unless `top` is None."""
    sampling = Sampling(top_logprobs=top, **fields)
    return SimulatedModel().answer(body_of(material or CANDIDATES, Verdict, sampling=sampling))


def test_asking_for_them_changes_nothing_else(body_of):
    """Text, usage and time are those of the same question without."""
    plain, asked = judged(body_of, None), judged(body_of)
    assert plain.odds == ()
    assert len(asked.odds) == 1
    for name in ("text", "usage", "latency_seconds", "finish_reason", "choices", "tool_calls"):
        assert getattr(asked, name) == getattr(plain, name)


def test_scores_are_in_doubt_and_all_else_is_certain(body_of):
    """Each number is one token, and only scores read off a reply have other levels."""
    answer = judged(body_of)
    tokens = answer.odds[0].tokens_of(answer.text)
    assert "".join(token.token for token in tokens) == answer.text
    doubtful = [token for token in tokens if len(token.alternatives) > 1]
    rows = json.loads(answer.text)["scores"]
    assert len(rows) == 3
    written = [str(row[name]) for row in rows for name in ("overall", "risk", "persona")]
    assert [token.token for token in doubtful] == [text for text in written if text != "None"]
    for token in doubtful:
        chances = [math.exp(logprob) for _, logprob in token.alternatives]
        assert chances == sorted(chances, reverse=True)
        assert 0.99 < sum(chances) <= 1.00001
        assert (token.token, token.logprob) in token.alternatives
    certain = [token for token in tokens if len(token.alternatives) == 1]
    assert all(token.alternatives == ((token.token, 0.0),) for token in certain)


@pytest.mark.parametrize("top", [0, 1, 2, 20])
def test_no_more_alternatives_than_asked_for(body_of, top):
    """With 0, the chosen tokens' own log-probabilities only."""
    answer = judged(body_of, top)
    counts = [len(token.alternatives) for token in answer.odds[0].tokens_of(answer.text)]
    assert max(counts) == min(top, max(counts))
    assert (max(counts) == 0) == (top == 0)


def test_each_choice_has_its_own(body_of):
    """And a limit on tokens cuts them where it cuts the text."""
    answer = judged(body_of, n=2, max_tokens=20)
    assert len(answer.odds) == 2
    for odds, text in zip(answer.odds, answer.choices, strict=True):
        assert "".join(token.token for token in odds.tokens_of(text)) == text


def test_a_tool_call_has_none(body_of):
    """Its tokens are no text."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    body = body_of(CANDIDATES, sampling=Sampling(top_logprobs=3))
    answer = SimulatedModel().answer({**body, "tools": [tool], "tool_choice": "required"})
    assert answer.tool_calls
    assert answer.odds == ()


@given(st.text(), st.integers(0, 2), st.integers(0, 20))
def test_tokens_join_to_any_text(text, way, top):
    """Also one that was cut off or spoilt after it was written."""
    odds = AnswerOdds(top, (0,), (with_levels(0.5, [(0.2, -1.0), (0.5, 0.1)]), 7))
    for each in (text, malformed('{"a":0.5,"b":"x"}' + text, way)):
        assert "".join(token.token for token in odds.tokens_of(each)) == each


def test_the_mean_is_nearer_to_the_reading_than_the_score():
    """The figures of docs/simulated-model.md, on 3,000 readings of a score in [0, 1]."""
    judge, phrases, draws = SimulatedJudge(3), weighted_phrases(3), SeededStream(5)
    slots = phrases.slots["en"]["telling"]
    centre, scale = JUDGE_CALIBRATION.score_centre, JUDGE_CALIBRATION.score_sd
    misses: dict[str, list[float]] = {"score": [], "mean": []}
    for number in range(3000):
        reply = render(slots, compose(slots, draws), "this and that")
        item = JudgePassNoise(judge, "rubric", draws).item(phrases.read(reply))
        reading = min(max(centre + scale * item.latent("score"), 0.0), 1.0)
        score = with_levels(item.share("score"), item.levels("score"))
        odds = AnswerOdds(5, (number,), (score,))
        text = f"[{float(score)}]"
        tokens = [(token.token, token.alternatives) for token in odds.tokens_of(text)]
        mean = expected_scores(text, tokens, low=0.0, high=1.0)[(0,)]
        misses["score"].append(abs(score - reading))
        misses["mean"].append(abs(mean - reading))
    assert statistics.fmean(misses["score"]) == pytest.approx(0.063, abs=0.004)
    assert statistics.fmean(misses["mean"]) == pytest.approx(0.036, abs=0.004)


def test_equal_questions_are_equally_in_doubt(body_of):
    """Another sample and another seed are not."""
    body = body_of(CANDIDATES, Verdict, sampling=Sampling(top_logprobs=5))
    doubts = set()
    for seed, sample in ((0, 0), (0, 0), (1, 0), (0, 1)):
        answer = SimulatedModel(settings=SimulatedSettings(seed=seed)).answer(body, sample)
        doubts.add(answer.odds[0].tokens_of(answer.text))
    assert len(doubts) == 3
