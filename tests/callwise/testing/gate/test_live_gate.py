"""The gate of live runs: false alarms at the stated rate, and a real rise found."""

import itertools
import math
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.calls.errors import ConfigError
from callwise.testing.gate import (
    Baseline,
    CallGroup,
    GateException,
    Quarantine,
    TurnFigures,
    compare_live,
)
from callwise.testing.gate.live_gate import sign_flip_p
from callwise.testing.gate.presenter import finding_lines, verdict
from tests.callwise.testing.gate.conftest import toy

CONVERSATIONS, TURNS = 24, 6


def _drawn(rng: np.random.Generator, means: np.ndarray) -> Baseline:
    """Return a live run: each conversation has its own level of calls, and a mood of the day."""
    moods = rng.gamma(8.0, 1 / 8.0, CONVERSATIONS)
    counts = 1 + rng.poisson((means * moods)[:, None], (CONVERSATIONS, TURNS))
    turns = tuple(
        TurnFigures.model_construct(
            conversation=f"c{talk:02}", turn=turn, asked={"lats/main/expand": int(count)}
        )
        for talk, row in enumerate(counts)
        for turn, count in enumerate(row)
    )
    return Baseline.model_construct(app="toy", turns=turns)


def _alarms(runs: int, *, alpha: float, rise: float, seed: int) -> int:
    rng = np.random.default_rng(seed)
    found = 0
    for _ in range(runs):
        means = rng.uniform(4.0, 16.0, CONVERSATIONS)
        before, now = _drawn(rng, means), _drawn(rng, means * (1 + rise))
        found += compare_live(before, now, alpha=alpha).has_failed
    return found


def _binomial_range(runs: int, rate: float) -> tuple[float, float]:
    """Return the range of 99.9 % of counts, by the normal approximation."""
    spread = 3.29 * math.sqrt(runs * rate * (1 - rate))
    return runs * rate - spread, runs * rate + spread


@pytest.mark.slow
def test_false_alarms_come_at_the_stated_rate() -> None:
    """Of runs without a change, 5 % alarm at 5 %: within the binomial interval, both sides."""
    low, high = _binomial_range(600, 0.05)
    assert low <= _alarms(600, alpha=0.05, rise=0.0, seed=1) <= high


@pytest.mark.slow
def test_false_alarms_come_at_the_default_rate() -> None:
    """The default of 1 %, over enough runs to tell."""
    low, high = _binomial_range(5000, 0.01)
    assert low <= _alarms(5000, alpha=0.01, rise=0.0, seed=2) <= high


def test_a_real_rise_is_found() -> None:
    """Under moods of 35 %, a rise of 60 % is found nine times in ten, a doubling always."""
    assert _alarms(100, alpha=0.01, rise=0.6, seed=3) >= 85
    assert _alarms(40, alpha=0.01, rise=1.0, seed=4) == 40


@settings(deadline=None, derandomize=True)
@given(st.lists(st.integers(-9, 9), max_size=9))
def test_p_is_the_share_of_all_signs(differences: list[int]) -> None:
    """Added up exactly, it is what counting all choices of signs gives."""
    seen = sum(differences)
    signs = list(itertools.product((1, -1), repeat=len(differences)))
    sums = [sum(s * d for s, d in zip(each, differences, strict=True)) for each in signs]
    assert sign_flip_p(differences) == pytest.approx(sum(s >= seen for s in sums) / len(sums))


def _talks(counts: list[int]) -> Baseline:
    return toy({(f"s{place:02}", 0): (1, count) for place, count in enumerate(counts)})


def test_the_result_has_rate_p_and_size() -> None:
    """Pairs, clusters, means, and where the calls rose."""
    found = compare_live(_talks([4] * 10), _talks([5] * 10))
    live = found.live
    assert live is not None
    assert (live.turns, live.conversations, live.alpha) == (13, 12, 0.01)
    assert live.p_value == pytest.approx(2**-10)
    assert found.has_failed
    assert live.by_path == ((CallGroup("lats_search", "main", "expand"), pytest.approx(10 / 13)),)
    line = verdict(found, "b.json")
    assert line.startswith("failed: 4.85 -> 5.62 calls per turn over 13 turns of 12 conversations")
    assert "p = 0.00098, false-alarm rate 1 %" in line
    assert finding_lines(found)[0] == "lats_search expand +0.77 calls per turn"


def test_a_fall_is_no_alarm() -> None:
    """The test is one-sided: a saving never fails."""
    found = compare_live(_talks([5] * 10), _talks([4] * 10))
    assert found.live is not None
    assert found.live.p_value == 1.0
    assert not found.has_failed
    assert verdict(found, "b").startswith("ok: ")


@pytest.mark.parametrize(
    ("alpha", "least"), [(0.5, 1), (0.25, 2), (0.05, 5), (0.01, 7), (2**-7, 7), (0.001, 10)]
)
def test_too_few_conversations_to_show_a_rise_are_refused(alpha: float, least: int) -> None:
    """C conversations have no p below 2^-C; the least that are needed are named."""
    turns = [turn for turn in _talks([4] * least).turns if turn.conversation.startswith("s")]
    enough, few = (toy().model_copy(update={"turns": tuple(turns[place:])}) for place in (0, 1))
    assert not compare_live(enough, enough, alpha=alpha).has_failed
    if few.turns:
        with pytest.raises(ConfigError, match=f"run at least {least}, allow a larger rate"):
            compare_live(few, few, alpha=alpha)


@pytest.mark.parametrize("alpha", [0.0, -0.1, 0.51, float("nan")])
def test_a_rate_that_is_none_is_refused(alpha: float) -> None:
    """More than 0, and at most a half."""
    with pytest.raises(ConfigError, match="alpha"):
        compare_live(toy(), toy(), alpha=alpha)


def test_other_runs_cannot_be_tested() -> None:
    """Pairs need the same turns, live as replayed."""
    with pytest.raises(ConfigError, match="lacks"):
        compare_live(_talks([4] * 3), _talks([4] * 2))


def test_quarantined_calls_are_left_out_on_both_sides() -> None:
    """A case that is known to be flaky neither alarms nor hides; one that expired fails."""
    before, now = _talks([4] * 10), _talks([5] * 10)
    case = GateException(
        conversation="s*", node="lats*", reason="ties", owner="sam", until="2026-12-31"
    )
    standing = Quarantine([case], today=date(2026, 12, 31))
    found = compare_live(before, now, quarantine=standing)
    assert found.live is not None
    assert (found.live.p_value, found.live.excepted_turns, found.has_failed) == (1.0, 10, False)
    late = Quarantine([case], today=date(2027, 1, 1))
    assert compare_live(before, before, quarantine=late).has_failed
    assert "sam" in finding_lines(compare_live(before, before, quarantine=late))[-1]


def test_counts_of_an_edited_baseline_take_no_memory() -> None:
    """A distribution of 16 GB would be added up; Hoeffding's bound is never below it."""
    assert sign_flip_p([10**9, 5]) == pytest.approx(math.exp(-0.5), rel=1e-6)
    assert sign_flip_p([-(10**9), 5]) == 1.0
    assert sign_flip_p([3] * 12) <= math.exp(-6)


@pytest.mark.parametrize("count", [2**53 + 1, 10**400])
def test_a_count_beyond_all_counting_is_refused(count: int) -> None:
    """A mean of it is no number."""
    with pytest.raises(ValueError, match="asked"):
        TurnFigures(conversation="one", turn=0, asked={"node/main/reply": count})
