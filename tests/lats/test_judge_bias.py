"""Signs of a judge's bias: found where it is, seldom where it is not, and never made of little."""

import math
import random
from collections import Counter

import pytest

from lats.actions import JudgeList
from lats.answers import Draft, Drafts, NoAnswer, Verdict, Verdicts
from lats.judge_bias import MAX_READINGS, JudgeReading, report_on
from lats.judge_report import MIN_CASES, JudgeReport, pool_reports
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs

KNOBS = {"policy": "listwise", "max_calls": 6, "refine": False, "early_exit": {"enabled": False}}


class BiasedJudge:
    """A judge whose biases are known, in standard deviations of its scores.

    Half of what decides an unbiased score is the candidate's quality, half is noise.
    """

    def __init__(self, seed, *, order=0.0, first=0.0, length=0.0, noise=1.0, spread=0.12):
        self.seed, self.order, self.first, self.length = seed, order, first, length
        self.noise, self.spread = noise, spread

    def drafts(self, action):
        """Return candidates of random lengths."""
        draw = random.Random(f"{self.seed}/{action.action_id}")
        sizes = [int(math.exp(draw.gauss(4, 0.5))) for _ in range(action.k)]
        return Drafts(tuple(Draft(reply=f"{draw.random():.12f}{'w' * size}") for size in sizes))

    def verdicts(self, action, tree):
        """Return scores of a list."""
        draw = random.Random(f"{self.seed}/{action.action_id}")
        drift = draw.gauss(0, 0.05)
        by_id = {}
        for place, node_id in enumerate(action.node_ids):
            quality = random.Random(f"{self.seed}/{node_id}").gauss(0, 1)
            score = (quality + self.noise * draw.gauss(0, 1)) / math.hypot(1, self.noise)
            score += self.order * (0.5 - place / max(len(action.node_ids) - 1, 1))
            score += self.first * (place == 0)
            size = len(tree.nodes[node_id].draft.reply)
            score += self.length * (math.log(size) - 4.2) / 0.4
            by_id[node_id] = Verdict(score=min(max(0.5 + drift + self.spread * score, 0), 1))
        return Verdicts(by_id)


def answered(seed, judge, **knobs):
    """Return the result of a search with a judge, a `BiasedJudge` or a function of an action."""
    search = PosteriorSearch(SearchKnobs(**(KNOBS | knobs)))
    model = judge if isinstance(judge, BiasedJudge) else BiasedJudge(seed)
    while actions := search.ask():
        for action in actions:
            if not isinstance(action, JudgeList):
                answer = model.drafts(action)
            elif isinstance(judge, BiasedJudge):
                answer = judge.verdicts(action, search.tree)
            else:
                answer = judge(action)
            search.tell(action.action_id, answer)
    return search.result()


def pooled(count, *, start=0, **bias) -> JudgeReport:
    """Return the pooled report of so many searches."""
    seeds = range(start, start + count)
    return pool_reports(answered(s, BiasedJudge(s, **bias)).judge_report for s in seeds)


def found(report):
    """Return the names of the signs that were found."""
    return {sign.name for sign in report.judges[""].signs if sign.finding == "found"}


@pytest.mark.parametrize(
    ("bias", "name", "effect"),
    [
        ({"order": 0.8}, "order", 0.8),
        ({"order": -0.8}, "order", -0.8),
        ({"first": 0.8}, "first", 0.8),
        ({"length": 0.6}, "length", 0.55),
    ],
)
def test_a_bias_that_is_there_is_found_with_its_size(bias, name, effect):
    """Of forty searches of six calls, in standard deviations within a call."""
    report = pooled(40, **bias)
    (sign,) = (sign for sign in report.judges[""].signs if sign.name == name)
    assert sign.finding == "found"
    assert sign.effect == pytest.approx(effect, abs=0.2)
    assert sign.low < effect < sign.high
    assert any("this judge" in line for line in report.findings())


def test_a_judge_that_is_noise_does_not_agree_with_itself():
    """Its two readings of the same candidates have nothing in common."""
    report = pooled(60, noise=50.0)
    assert found(report) == {"self_agreement"}
    assert "hardly agrees with itself" in "".join(report.findings())


def test_the_correlation_of_two_readings_is_that_of_the_judge():
    """Half quality and half noise: one half."""
    (sign,) = (s for s in pooled(60).judges[""].signs if s.name == "self_agreement")
    assert sign.effect == pytest.approx(0.5, abs=0.12)
    assert sign.low < 0.5 < sign.high


def test_searches_with_unbiased_judges_are_seldom_reported():
    """Later calls read candidates that were chosen by their scores; no sign is found of it."""
    reports = [pooled(15, start=100 * place) for place in range(40)]
    alarms = Counter(name for report in reports for name in found(report))
    assert max(alarms.values(), default=0) <= 0.05 * len(reports)


def _unbiased(draw, *, levels=0, is_uneven=False, max_items=64):
    """Return two passes in reversed order, and the lengths, of a judge that goes by quality."""
    births = list(range(1, draw.randint(10, 16) if max_items < 10 else draw.randint(4, 9)))
    spread = math.exp(draw.gauss(0, 1)) if is_uneven else 1.0
    quality = {birth: spread * draw.gauss(0, 1) for birth in births}
    order = sorted(births, key=lambda _: draw.random())
    readings = []
    for passed in (order, order[::-1]):
        size = max_items - 1  # the first candidate of a pass is in all of its calls
        for at in range(1, len(passed), size):
            read = (passed[0], *passed[at : at + size])
            scores = [0.5 + 0.08 * (quality[birth] + draw.gauss(0, 1)) for birth in read]
            if levels:
                scores = [round(score * levels) / levels for score in scores]
            readings.append(JudgeReading("overall", read, tuple(scores)))
    return readings, [0, *[int(math.exp(draw.gauss(4, 0.5))) for _ in births]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "judge",
    [{}, {"levels": 5}, {"is_uneven": True}, {"max_items": 4}],
    ids=["plain", "five levels", "uneven problems", "split passes"],
)
def test_no_sign_is_found_by_chance_in_more_than_one_report_of_twenty(judge):
    """Each sign by itself, of the fewest searches with an interval; most have errors there."""
    draw = random.Random(7)
    reports = [
        pool_reports(report_on(*_unbiased(draw, **judge)) for _ in range(MIN_CASES))
        for _ in range(200)
    ]
    alarms = Counter(name for report in reports for name in found(report))
    assert max(alarms.values(), default=0) <= 0.05 * len(reports)
    assert all(sign.low is not None for sign in reports[0].judges[""].signs[:4])


def test_one_search_has_too_few_data_for_a_finding():
    """An effect is given, and no interval."""
    report = pooled(1, order=2.0)
    assert {sign.finding for sign in report.judges[""].signs} == {"not enough data"}
    assert report.findings() == []
    assert "not enough data" in report.text()


def _same(action):
    return Verdicts({each: Verdict(score=0.7) for each in action.node_ids})


def _empty(action):
    return Verdicts({})


def _off_scale(action):
    return Verdicts({each: Verdict(score=7) for each in action.node_ids})


def _nan(action):
    return Verdicts({each: Verdict(score=float("nan")) for each in action.node_ids})


def _other_ids(action):
    return Verdicts({each[::-1]: Verdict(score=0.7) for each in action.node_ids})


def _fails(action):
    return NoAnswer(detail="down")


def _one_best(action):
    return Verdicts({each: Verdict(score=0.9 if "0" in each else 0.1) for each in action.node_ids})


@pytest.mark.parametrize(
    ("judge", "words"),
    [
        (_same, "gave one score to everything in all calls"),
        (_empty, "gave no usable score in all calls"),
        (_off_scale, "verdicts without a score from 0 to 1"),
        (_nan, "verdicts without a score from 0 to 1"),
        (_other_ids, "that it was not asked about"),
        (_fails, "failed in all calls"),
    ],
)
def test_a_judge_of_no_use_is_named(judge, words):
    """The search has a defined result, and the report names what is wrong."""
    result = answered(1, judge)
    assert result.best is not None
    calls = len(result.readings)
    words = words.replace("in all", f"in {calls} of {calls}")
    assert words in "\n".join(result.judge_report.findings())


def test_a_judge_that_repeats_itself_to_the_digit_is_named():
    """Further passes by it add nothing."""
    report = pool_reports(answered(seed, _one_best).judge_report for seed in range(4))
    assert "repeated itself" in "\n".join(report.findings())
    assert "several best candidates" in "\n".join(report.findings())


def test_a_judge_of_ranks_has_places_but_no_ties():
    """Ranks count as scores."""
    result = answered(3, lambda action: Verdicts({}, tuple(sorted(action.node_ids))))
    judge = result.judge_report.judges[""]
    assert (judge.silent, judge.top_ties) == (0, 0)
    assert judge.compared == len(result.readings) > 1


def test_pooling_is_adding():
    """In any grouping, up to rounding."""
    reports = [answered(seed, BiasedJudge(seed, order=0.5)).judge_report for seed in range(6)]
    whole = pool_reports(reports)
    halves = pool_reports([pool_reports(reports[:2]), pool_reports(reports[2:])])
    assert whole.searches == halves.searches == 6
    for one, other in zip(whole.judges[""].signs, halves.judges[""].signs, strict=True):
        assert (one.name, one.cases) == (other.name, other.cases)
        assert one.effect == pytest.approx(other.effect)
    assert pool_reports([]) == JudgeReport()


def test_readings_are_limited_and_saved(actions_model, play):
    """A long search keeps the first ones; a restored one has them all again."""
    knobs = {"policy": "best_of_n", "judging": "pointwise", "generate_k": 32}
    knobs |= {"max_candidates": MAX_READINGS + 40, "max_calls": MAX_READINGS + 60}
    search, _ = play(PosteriorSearch(SearchKnobs(**knobs)), actions_model())
    result = search.result()
    assert sum(node.judge_passes for node in result.tree.candidates) > MAX_READINGS
    assert len(result.readings) == MAX_READINGS
    again = PosteriorSearch.from_state(search.state_dict()).result()
    assert again.readings == result.readings
    assert again.judge_report == result.judge_report


def test_a_reading_without_scores_is_a_failed_call():
    """It is counted, and enters no effect."""
    readings = [JudgeReading("overall", (1, 2), ())] * 3
    report = report_on(readings, (0, 10, 10))
    assert (report.judges[""].calls, report.judges[""].failed) == (3, 3)
    assert report.judges[""].sd is None
