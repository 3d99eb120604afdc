"""Several judges: who judges a pass, on which scale, and what one that fails costs."""

import asyncio
import json
import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.actions import JudgeList
from lats.answers import Draft, Drafts, NoAnswer, Verdict, Verdicts
from lats.judge_bias import JudgeReading
from lats.judges import common_scale, judge_and_rubric
from lats.problem import Problem
from lats.result import StateError
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.solving import resume, solve

NAMES = st.lists(st.text("abcd", min_size=1, max_size=3), min_size=1, max_size=5, unique=True)
KNOBS = SearchKnobs(policy="listwise", max_calls=6, refine=False)


@given(judges=NAMES, rubrics=NAMES, start=st.integers(0, 60))
def test_passes_go_round_the_judges_and_each_judge_round_the_rubrics(judges, rubrics, start):
    """Passes in a row are by different judges; no pair of a judge and a rubric is left out."""
    turns = [
        judge_and_rubric(start + place, judges, rubrics)
        for place in range(2 * len(judges) * len(rubrics))
    ]
    in_a_row = [judge for judge, _ in turns[: len(judges)]]
    assert sorted(in_a_row) == sorted(judges)
    assert set(turns) == {(judge, rubric) for judge in judges for rubric in rubrics}


def test_one_judge_has_no_name_and_its_rubrics_go_round():
    """As before there were several."""
    assert [judge_and_rubric(n, (), ("one", "two")) for n in range(3)] == [
        ("", "one"),
        ("", "two"),
        ("", "one"),
    ]


def _reading(judge, *scores):
    return JudgeReading("overall", tuple(range(1, len(scores) + 1)), scores, judge)


def test_a_judge_that_brought_nothing_twice_is_asked_no_more():
    """Unless that is true of all; one usable call is enough to stay."""
    dead = [_reading("a"), _reading("a", None, None)]
    assert {judge_and_rubric(n, "ab", ["r"], dead)[0] for n in range(4)} == {"b"}
    alive = [*dead, _reading("a", 0.5, None)]
    assert {judge_and_rubric(n, "ab", ["r"], alive)[0] for n in range(4)} == {"a", "b"}
    both = [*dead, _reading("b"), _reading("b")]
    assert {judge_and_rubric(n, "ab", ["r"], both)[0] for n in range(4)} == {"a", "b"}


SCORES = st.lists(st.floats(0, 1, allow_nan=False), min_size=2, max_size=9)


@given(one=SCORES, other=SCORES)
def test_a_scale_is_changed_about_the_mean_and_keeps_the_order(one, other):
    """By four times at most."""
    readings = [_reading("a", *one), _reading("b", *other)]
    found = common_scale(other, "b", readings)
    assert sum(found) == pytest.approx(sum(other), abs=1e-6)
    ordered = sorted(range(len(other)), key=other.__getitem__)
    by_found = [found[place] for place in ordered]
    assert all(a <= b + 1e-12 for a, b in pairwise(by_found))
    spans = max(other) - min(other), max(found) - min(found)
    assert spans[0] / 4 - 1e-9 <= spans[1] <= 4 * spans[0] + 1e-9
    assert common_scale(one, "a", readings) == one


def test_the_more_is_known_of_a_scale_the_more_of_it_is_made_up():
    """A third of the first judge's spread is made up in part by one call, nearly all later."""
    draw = random.Random(1)

    def span(calls):
        readings = []
        for _ in range(calls):
            quality = [draw.gauss(0, 0.2) for _ in range(6)]
            readings.append(_reading("a", *(0.5 + each for each in quality)))
            readings.append(_reading("b", *(0.5 + each / 3 for each in quality)))
        scores = [0.4, 0.6]
        low, high = common_scale(scores, "b", readings)
        return (high - low) / 0.2

    assert 1.3 < span(1) < 2.1 < span(5) < span(40) < 3.0


def _answers(search, judges, rounds=None):
    """Drive a search; each judge is a function of candidates' qualities, by name."""
    asked = []
    while (rounds is None or len(asked) < rounds) and (actions := search.ask()):
        asked.append(actions)
        for action in actions:
            if isinstance(action, JudgeList):
                answer = judges[action.judge](action)
            else:
                texts = [f"{action.action_id} {place}" for place in range(action.k)]
                answer = Drafts(tuple(Draft(reply=text) for text in texts))
            search.tell(action.action_id, answer)
    return asked


def _quality(node_id):
    return random.Random(node_id).uniform(0.2, 0.8)


def _halves(states, judge_pass):
    return [0.5] * len(states)


def _good(action):
    return Verdicts({each: Verdict(score=_quality(each)) for each in action.node_ids})


def _contrary(action):
    return Verdicts({each: Verdict(score=1 - _quality(each)) for each in action.node_ids})


def _down(action):
    return NoAnswer(detail="down")


def _silent(action):
    return Verdicts({})


def test_passes_over_the_same_candidates_are_by_different_judges():
    """Each names its judge in the action, its reading, and the report."""
    search = PosteriorSearch(KNOBS, judges=["gpt", "llama"])
    rounds = _answers(search, {"gpt": _good, "llama": _good})
    judges = [each.judge for each in rounds[1] if isinstance(each, JudgeList)]
    assert judges == [("gpt", "llama")[place % 2] for place in range(len(judges))]
    report = search.result().judge_report
    calls = {name: each.calls for name, each in report.judges.items()}
    assert calls == Counter(judges)
    assert list(report.agreement) == [("gpt", "llama")]
    assert report.agreement["gpt", "llama"].effect == pytest.approx(1)


def test_judges_that_disagree_make_a_search_less_sure():
    """Their disagreement is noise."""
    sure, unsure = PosteriorSearch(KNOBS, judges="ab"), PosteriorSearch(KNOBS, judges="ab")
    _answers(sure, {"a": _good, "b": _good})
    _answers(unsure, {"a": _good, "b": _contrary})
    assert unsure.result().confidence.chance_best < sure.result().confidence.chance_best
    assert unsure.result().judge_report.agreement["a", "b"].effect == pytest.approx(-1)


@pytest.mark.parametrize("broken", [_down, _silent])
@pytest.mark.parametrize("judging", ["listwise", "pairwise", "pointwise"])
def test_judges_that_fail_cost_their_calls_and_no_more(broken, judging):
    """Two of three bring nothing; the third one's scores decide."""
    knobs = SearchKnobs(policy="posterior_uct", judging=judging, max_calls=40, max_passes=8)
    search = PosteriorSearch(knobs, judges=("a", "b", "c"))
    rounds = _answers(search, {"a": broken, "b": broken, "c": _good})
    result = search.result()
    judged = [node for node in result.tree.candidates if node.score_count]
    assert judged
    assert sum(map(len, rounds)) <= 40
    if judging == "listwise":
        assert {reading.judge for reading in result.readings[6:]} == {"c"}


def test_a_search_with_several_judges_is_resumed_with_the_same_bytes():
    """Judges and readings are in the state; with one judge the state has no word of them."""
    judges = {"a": _good, "b": _contrary}
    through = PosteriorSearch(KNOBS, judges=judges)
    _answers(through, judges)
    cut = PosteriorSearch(KNOBS, judges=judges)
    _answers(cut, judges, rounds=1)
    state = json.loads(json.dumps(cut.state_dict()))
    assert state["judges"] == ["a", "b"]
    restored = PosteriorSearch.from_state(state)
    _answers(restored, judges)
    assert json.dumps(restored.state_dict()) == json.dumps(through.state_dict())
    single = PosteriorSearch(KNOBS)
    _answers(single, {"": _good})
    assert "judges" not in single.state_dict()
    assert '"judge":' not in json.dumps(single.state_dict())


@pytest.mark.parametrize(
    "change",
    [
        {"births": [1, 999]},
        {"births": [1, 2, 3]},
        {"births": [-1, 2]},
        {"scores": ["high", 0.5]},
        {"place": 1},
    ],
)
def test_a_state_with_broken_readings_is_refused(change):
    """Not read past."""
    search = PosteriorSearch(KNOBS)
    _answers(search, {"": _good})
    state = json.loads(json.dumps(search.state_dict()))
    state["readings"] = [{"rubric": "overall", "births": [1, 2], "scores": [0.5, 0.4]} | change]
    with pytest.raises(StateError):
        PosteriorSearch.from_state(state)


@pytest.mark.parametrize(
    ("judge", "words"),
    [({}, "empty mapping"), ({" ": _halves}, "called ' '"), ({1: _halves}, "called 1")],
)
def test_names_of_judges_are_checked(judge, words):
    """A mapping with nothing in it, a blank name, and one that is no text are errors."""
    with pytest.raises(ValueError, match=words):
        asyncio.run(solve(Problem(int, lambda state, k, context: range(4), judge), KNOBS))


def test_a_judge_is_named_once():
    """Passes by one judge under one name would count as two judges' agreement."""
    with pytest.raises(ValueError, match="named twice"):
        PosteriorSearch(KNOBS, judges=["gpt", "gpt"])


def test_a_verifier_keeps_its_scale():
    """A score of 1 ends the search, so it is no other judge's spread that decides."""
    knobs = SearchKnobs(policy="listwise", max_calls=6, refine=False, stop_score=1)
    search = PosteriorSearch(knobs, judges=["rater", "tests"])

    def verdicts(action, others):
        passing = min(action.node_ids)
        scores = {each: 1 if each == passing else others for each in action.node_ids}
        return Verdicts({each: Verdict(score=score) for each, score in scores.items()})

    _answers(search, {"rater": lambda a: verdicts(a, 0.9), "tests": lambda a: verdicts(a, 0)})
    assert search.result().stop_reason == "early_exit"
    assert search.result().best.mean_score == 1


def test_a_state_whose_open_round_asks_another_judge_is_refused():
    """It could not be answered."""
    search = PosteriorSearch(KNOBS, judges=["gpt", "llama"])
    _answers(search, {"gpt": _good, "llama": _good}, rounds=1)
    assert search.ask()
    state = json.loads(json.dumps(search.state_dict()))
    PosteriorSearch.from_state(state)
    state["judges"] = ["gpt", "claude"]
    with pytest.raises(StateError, match="'llama' is none of"):
        PosteriorSearch.from_state(state)


def _problem(**judges):
    return Problem(int, lambda state, k, context: range(4), judges)


def test_a_problem_has_judges_by_name():
    """Each is called with the passes that bear its name."""
    seen = []

    def reader(name):
        async def judge(states, given):
            assert given.judge == name
            seen.append(name)
            await asyncio.sleep(0)
            return [state / 10 for state in states]

        return judge

    found = asyncio.run(solve(_problem(a=reader("a"), b=reader("b")), KNOBS))
    assert found.best == 3
    assert set(seen) == {"a", "b"}
    assert abs(seen.count("a") - seen.count("b")) <= 1


def test_a_state_is_resumed_with_the_judges_that_it_names():
    """Other ones are an error that names them."""
    kept = []

    def judge(states, given):
        return [state / 10 for state in states]

    problem = _problem(a=judge, b=judge)
    asyncio.run(solve(problem, KNOBS, checkpoint=lambda state: kept.append(json.dumps(state))))
    again = asyncio.run(resume(problem, json.loads(kept[1])))
    assert again.best == 3
    with pytest.raises(StateError, match=r"judges \['a', 'b'\]"):
        asyncio.run(resume(_problem(a=judge), json.loads(kept[1])))
    with pytest.raises(StateError, match="same ones"):
        asyncio.run(resume(Problem(int, problem.propose, judge), json.loads(kept[1])))
