"""Posteriors of candidates, and noise of the judge."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.answers import Draft, Drafts, Verdict, Verdicts
from lats.posterior import (
    MAX_RELIABILITY,
    MIN_RELIABILITY,
    PRIOR_SPREAD,
    NoiseModel,
    belief,
    drift_of,
    posterior_means,
)
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.search_tree import Candidate

UNIT = st.floats(0, 1)


def _candidate(scores, prior_mean=None, birth=1):
    return Candidate(
        f"{birth:016x}",
        "0" * 16,
        1,
        Draft(reply=str(birth)),
        birth,
        prior_mean,
        score_sum=sum(scores),
        score_count=len(scores),
    )


def _noise(reliability=0.4, *, mean=0.5):
    return NoiseModel(reliability, mean_sum=mean, mean_count=1)


@given(scores=st.lists(UNIT, max_size=6), prior=UNIT, reliability=st.floats(0.06, 0.95), call=UNIT)
def test_a_belief_is_the_conjugate_normal_posterior(scores, prior, reliability, call):
    """Precisions add up, and means weigh by them."""
    noise = NoiseModel(reliability)
    noise.note_call([call, 0.5])
    r, spread = noise.reliability, noise.spread
    own_noise = (1 - r) * spread
    precision = 1 / (r * spread) + len(scores) / own_noise
    mean = (prior / (r * spread) + sum(scores) / own_noise) / precision
    found = belief(_candidate(scores, prior), noise)
    assert found.mean == pytest.approx(mean, abs=1e-9)
    assert found.variance == pytest.approx(1 / precision)
    assert found.sd == math.sqrt(found.variance)
    assert posterior_means([_candidate(scores, prior)], noise) == [found.mean]


def test_without_a_prior_it_is_the_mean_of_all():
    """Half before anything was read."""
    assert belief(_candidate([]), NoiseModel(0.4)).mean == 0.5
    assert belief(_candidate([]), _noise(mean=0.7)).mean == pytest.approx(0.7)


def test_one_lucky_score_does_not_beat_many_that_are_a_little_lower():
    """The winner's curse, cured where counts are uneven."""
    noise = _noise(mean=0.5)
    lucky, steady = _candidate([0.8]), _candidate([0.75] * 4)
    assert belief(steady, noise).mean > belief(lucky, noise).mean
    assert belief(steady, noise).variance < belief(lucky, noise).variance
    even = [belief(_candidate([score] * 2), noise).mean for score in (0.8, 0.75)]
    assert even[0] > even[1]


def test_the_first_call_and_a_call_that_read_one_say_nothing_of_drift():
    """There is nothing to measure it against."""
    pair = [(_candidate([]), 0.9), (_candidate([], birth=2), 0.8)]
    assert drift_of(pair, NoiseModel(0.4)) == 0.0
    assert drift_of(pair[:1], _noise()) == 0.0


@given(drift=st.floats(-0.5, 0.5), anchors=st.integers(2, 6))
def test_drift_is_seen_in_anchors_and_mostly_removed(drift, anchors):
    """All of it where it is large; never more than there was."""
    noise = _noise()
    scored = [(_candidate([0.5], birth=place), 0.5 + drift) for place in range(anchors)]
    found = drift_of(scored, noise)
    assert abs(found) <= abs(drift) + 1e-12
    assert found * drift >= 0
    if abs(drift) > 0.3:
        assert abs(drift - found) < 0.05


def _judged_twice(qualities, second, drift):
    """Return a search whose first call read all, and whose second, drifted, read some."""
    knobs = SearchKnobs(
        policy="listwise", max_calls=4, generate_k=8, max_candidates=8, refine=False
    )
    search = PosteriorSearch(knobs)
    for action in search.ask():
        drafts = tuple(Draft(reply=f"reply {place}") for place in range(len(qualities)))
        search.tell(action.action_id, Drafts(drafts=drafts))
    true = {n.node_id: q for n, q in zip(search.tree.candidates, qualities, strict=True)}
    for place, action in enumerate(search.ask()):
        read = [i for i in action.node_ids if not place or true[i] in second]
        scores = {i: Verdict(score=true[i] + (drift if place else 0.0)) for i in read}
        search.tell(action.action_id, Verdicts(scores))
    return search, true


@given(
    qualities=st.lists(
        st.integers(30, 70).map(lambda q: q / 100), min_size=3, max_size=8, unique=True
    ),
    drift=st.floats(-0.3, 0.3),
)
def test_a_later_call_that_drifts_as_a_whole_changes_no_ranking(qualities, drift):
    """All that it read moved alike."""
    search, true = _judged_twice(qualities, qualities, drift)
    noise = search._state.noise
    by_belief = sorted(search.tree.candidates, key=lambda node: -belief(node, noise).mean)
    assert [true[n.node_id] for n in by_belief] == sorted(qualities, reverse=True)


@pytest.mark.parametrize("drift", [-0.35, -0.2, 0.2, 0.35])
@pytest.mark.parametrize("read", [(0.62, 0.55), (0.62, 0.4), (0.55, 0.4, 0.35), (0.4, 0.35)])
def test_a_drift_of_a_call_that_read_some_does_not_flip_the_winner(drift, read):
    """Whether it was harsh or kind with the winner alone, or with all others."""
    search, true = _judged_twice([0.62, 0.55, 0.5, 0.4, 0.35], read, drift)
    assert true[search.result().best.node_id] == 0.62


def _watched(own_noise, *, calls=200, items=6, spread=0.15, seed=0):
    """Return the noise as learned from many calls of a judge with a known noise."""
    draw = random.Random(seed)
    noise = NoiseModel(0.4)
    for _ in range(calls):
        true = [draw.gauss(0.5, spread) for _ in range(items)]
        first = [t + draw.gauss(0, own_noise) for t in true]
        second = [t + draw.gauss(0, own_noise) for t in true]
        noise.note_call(first)
        noise.note_call(second)
        for before, score in zip(first, second, strict=True):
            noise.note_repeat(score, mean_before=before, count_before=1)
    return noise


def test_before_anything_was_seen_it_is_what_the_knobs_assume():
    """And the mean is in the middle."""
    noise = NoiseModel(0.35)
    assert noise.reliability == pytest.approx(0.35)
    assert noise.spread == pytest.approx(PRIOR_SPREAD)
    assert noise.grand_mean == 0.5


@pytest.mark.parametrize("own_noise", [0.03, 0.1, 0.2, 0.4])
def test_reliability_is_learned_as_the_intraclass_correlation(own_noise):
    """True variance over all variance."""
    noise = _watched(own_noise)
    true = 0.15**2 / (0.15**2 + own_noise**2)
    assert noise.reliability == pytest.approx(true, abs=0.06)
    assert noise.spread == pytest.approx(0.15**2 + own_noise**2, rel=0.1)


def test_a_call_that_read_one_does_not_change_the_spread():
    """Nor does one that read no candidate."""
    noise = NoiseModel(0.4)
    noise.note_call([0.9])
    noise.note_call([])
    assert (noise.spread_sum, noise.spread_weight) == (0.0, 0)


@given(
    calls=st.lists(st.lists(st.floats(0, 1), max_size=5), max_size=6),
    repeats=st.lists(st.tuples(st.floats(-1, 2), st.floats(-1, 2), st.integers(1, 5)), max_size=6),
)
def test_whatever_it_sees_spread_stays_above_0_and_reliability_in_range(calls, repeats):
    """Ties of everything included."""
    noise = NoiseModel(0.4)
    for scores in calls:
        noise.note_call(scores)
    for score, before, count in repeats:
        noise.note_repeat(score, mean_before=before, count_before=count)
    assert noise.spread > 0
    assert MIN_RELIABILITY <= noise.reliability <= MAX_RELIABILITY
