"""One score, and the id of a reply."""

import hashlib
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.calls import ConfigError
from callwise.tuning.judge.scores import (
    Score,
    choose_source,
    estimate_spread_of,
    in_order,
    mean_values,
    scale_of,
    sources_of,
    with_quality,
)
from callwise.tuning.row import Coverage, reply_id


@pytest.mark.parametrize("text", ["Hm.", " Hm.", "在", "half \ud83d emoji"])
def test_every_text_has_an_id_and_no_reply_has_none(text: str) -> None:
    """Half a character too, as a model may end in one."""
    assert len(reply_id(text)) == 16
    assert reply_id("") == ""


def test_an_id_is_sixteen_digits_of_sha256() -> None:
    """Nothing is trimmed: another byte is another reply."""
    assert reply_id("Hm.") == hashlib.sha256(b"Hm.").hexdigest()[:16]
    assert reply_id("Hm.") != reply_id("Hm. ")


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": math.nan},
        {"value": math.inf},
        {"scale_high": 1.0},
        {"scale_low": -math.inf},
        {"turn": -1},
        {"repeat": -1},
    ],
)
def test_an_unusable_score_is_refused(wrong: dict[str, float]) -> None:
    """A mean over such scores would be no number, or a lie."""
    fields = {"turn": 0, "value": 5.0, "scale_low": 1.0, "scale_high": 10.0, **wrong}
    with pytest.raises(ValueError, match="got"):
        Score(by="referee:m", conversation="talk", reply_id="a", **fields)  # type: ignore[arg-type]


def test_of_two_scores_with_one_key_the_later_is_kept() -> None:
    """A table that was appended to twice has the last word once."""
    old = Score("referee:m", "talk", 0, "a", 5.0, 1.0, 10.0)
    new = Score("referee:m", "talk", 0, "a", 6.0, 1.0, 10.0)
    other = Score("referee:m", "talk", 0, "a", 6.0, 1.0, 10.0, repeat=1)
    assert in_order([other, old, new]) == [new, other]


def test_rows_with_one_reply_share_its_quality(row_of: Any, score_of: Any) -> None:
    """The mean over passes, for every setting that gives that reply on that turn."""
    rows = [row_of("x", "a"), row_of("y", "a"), row_of("z", "b"), row_of("x", "a", 1)]
    scores = [score_of("referee:m", "a", 6, repeat=0), score_of("referee:m", "a", 8, repeat=1)]
    joined = with_quality(rows, scores)
    assert [row.quality for row in joined] == [7.0, 7.0, None, None]
    assert [row.quality_by for row in joined] == ["referee:m", "referee:m", "", ""]
    assert [row.quality_spread for row in joined] == [0.0] * 4
    assert [row.setting for row in joined] == ["x", "y", "z", "x"]


def test_sources_are_never_mixed(row_of: Any, score_of: Any) -> None:
    """A row that the chosen one did not judge has none, though another did."""
    rows = [row_of("x", "a"), row_of("y", "b")]
    scores = [
        score_of("human:l.csv", "a", 4),
        score_of("referee:m", "a", 7),
        score_of("referee:m", "b", 8),
        score_of("truth:simulated", "b", 0.3, scale_low=-2.0, scale_high=2.0, kind="truth"),
    ]
    assert sources_of(scores) == {"human:l.csv": 1, "referee:m": 2, "truth:simulated": 1}
    for by, expected in [
        (None, [4, None]),
        ("human", [4, None]),
        ("referee", [7, 8]),
        ("referee:m", [7, 8]),
        ("truth", [None, 0.3]),
    ]:
        assert [row.quality for row in with_quality(rows, scores, by)] == expected
    with pytest.raises(ConfigError, match=r"referee:m, truth:simulated"):
        with_quality(rows, scores, "referee:other")


def test_of_one_kind_the_one_that_saw_most_counts(score_of: Any) -> None:
    """And the first by name of equals."""
    scores = [score_of("referee:b", "a", 1), score_of("referee:a", "a", 1)]
    assert choose_source(scores) == "referee:a"
    assert choose_source([*scores, score_of("referee:b", "b", 1)]) == "referee:b"
    assert choose_source([score_of("panel:x", "a", 1)]) == "panel:x"
    assert choose_source([]) is None
    with pytest.raises(ConfigError, match="sources with scores: none"):
        choose_source([], "human")


def test_old_quality_does_not_stay(row_of: Any, score_of: Any) -> None:
    """Rows that were joined before are joined again, and with nothing to nothing."""
    row = row_of("x", "b", quality=3.0, quality_by="human:l.csv", quality_spread=1.0)
    (joined,) = with_quality([row], [score_of("referee:m", "a", 7)])
    assert (joined.quality, joined.quality_by, joined.quality_spread) == (None, "", 0.0)
    (bare,) = with_quality([row], [])
    assert bare.quality is None


def test_a_reply_that_is_not_known_has_no_quality(row_of: Any, score_of: Any) -> None:
    """An empty reply of an exact turn was judged; no id elsewhere means that it is not known."""
    scores = [score_of("referee:m", "", 1.0)]
    rows = [row_of("x", ""), row_of("y", "", coverage=Coverage.MISSING, is_reply_exact=False)]
    assert [row.quality for row in with_quality(rows, scores)] == [1.0, None]


def test_a_stand_in_has_a_spread(row_of: Any, score_of: Any) -> None:
    """Its quality is an estimate of the reply's that a real run would give."""
    rows = [
        row_of("x", "a"),
        row_of("y", "b", coverage=Coverage.BOUNDED, diverged_at=3, is_reply_exact=False),
        row_of("z", "b", coverage=Coverage.BOUNDED, diverged_at=9, is_reply_exact=True),
    ]
    scores = [score_of("referee:m", "a", 6), score_of("referee:m", "b", 8)]
    joined = with_quality(rows, scores)
    assert [row.quality for row in joined] == [6, 8, 8]
    assert [row.quality_spread for row in joined] == [0, pytest.approx(2.0), 0]


def test_the_spread_is_that_of_two_replies_to_one_turn() -> None:
    """Pooled within turns; a quarter of the scale where no turn has two."""
    values = {("t", 0, "a"): 1.0, ("t", 0, "b"): 3.0, ("t", 1, "a"): 50.0, ("t", 1, "b"): 52.0}
    assert estimate_spread_of(values, 9.0) == pytest.approx(math.sqrt(2) * math.sqrt(2))
    assert estimate_spread_of({("t", 0, "a"): 1.0}, 4.0) == pytest.approx(math.sqrt(2))


def test_a_scale_has_one_width(score_of: Any) -> None:
    """Several scales under one name cannot be averaged."""
    scores = [score_of("referee:m", "a", 5), score_of("referee:m", "b", 5)]
    assert scale_of(scores) == (1.0, 10.0)
    with pytest.raises(ConfigError, match="several scales"):
        scale_of([*scores, score_of("truth:simulated", "a", 0, scale_low=-2.0)])
    with pytest.raises(ConfigError, match="no scores"):
        scale_of([])


SCORES = st.lists(
    st.builds(
        Score,
        by=st.sampled_from(["human:l.csv", "referee:m", "truth:simulated"]),
        conversation=st.just("talk"),
        turn=st.integers(0, 2),
        reply_id=st.sampled_from(["a", "b"]),
        value=st.integers(1, 10).map(float),
        scale_low=st.just(1.0),
        scale_high=st.just(10.0),
        repeat=st.integers(0, 3),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(SCORES, st.randoms(use_true_random=False))
def test_the_order_of_scores_does_not_matter(scores: list[Score], random: Any) -> None:
    """Neither for the source nor for a mean; and a mean lies among its values."""
    shuffled = list(scores)
    random.shuffle(shuffled)
    assert choose_source(scores) == choose_source(shuffled)
    one, two = mean_values(scores), mean_values(shuffled)
    assert list(one) == list(two)
    for key, value in one.items():
        assert two[key] == pytest.approx(value)
        own = [score.value for score in scores if score.reply_key == key]
        assert min(own) - 1e-9 <= value <= max(own) + 1e-9
