"""The figure: tested by its data; the drawing by its bytes."""

import pytest

from benchmarks.search.comparing import averages, compare
from benchmarks.search.drawing import draw
from benchmarks.search.figures import (
    BANDED,
    IN_POOLS,
    STYLES,
    curves,
    panels_of,
    panels_text,
    read_panels,
)
from benchmarks.search.settings import OURS, PEERS, PRESETS
from benchmarks.tests.search.test_comparing import NOISE, baseline, make_runs


def pools():
    """Return two policies of a pool, one at two caps, a preset and a policy without a style."""
    return compare(
        [
            baseline(NOISE),
            make_runs(NOISE + 2, cap=6),
            make_runs(NOISE + 1, cap=3),
            make_runs(NOISE, policy="best-of-N, plain"),
            make_runs(NOISE + 2, policy="balanced"),
            make_runs(NOISE, policy="listwise, min_gain 0.1"),
        ]
    )


def rows():
    """Return their means over pools."""
    return averages(pools(), ["a pool"])


def test_each_policy_is_a_curve_from_left_to_right():
    """Share of the gap by mean requests, with the interval of each place."""
    found = {curve.label: curve for curve in curves(rows())}
    assert list(found) == ["balanced", "listwise", "classic_uct", "best-of-N, plain"]
    places = found["listwise"].places
    assert [(place.x, place.cap) for place in places] == [(3, 3), (6, 6)]
    assert places[1].share.mean == pytest.approx((NOISE.mean() + 2) / 10)
    assert found["best-of-N, plain"].style.is_peer
    assert found["classic_uct"].has_band
    assert not found["best-of-N, plain"].has_band


def test_caps_that_are_not_used_are_one_point():
    """Larger caps make as many requests once the record ends."""
    at_six, at_eight = make_runs(NOISE, cap=6), make_runs(NOISE, cap=8)
    at_eight.values["requests"][:] = 6
    (curve,) = curves(averages(compare([at_six, at_eight]), ["a pool"]))
    assert [(place.x, place.cap) for place in curve.places] == [(6, 6)]


def test_every_policy_has_a_look_of_its_own():
    """Colour, marker and line together tell any two apart."""
    assert {*OURS, *PEERS, *PRESETS} == set(STYLES)
    assert len(set(STYLES.values())) == len(STYLES)
    assert {*BANDED, *IN_POOLS} <= set(STYLES)
    lines = {label: style for label, style in STYLES.items() if label not in PRESETS}
    assert len({style.colour for style in lines.values()}) == len(lines)
    assert len({style.marker for style in lines.values()}) == len(lines)


def test_stored_panels_are_read_back():
    """The mean, then each pool, with the facts of the measurement."""
    panels = panels_of(rows(), pools())
    assert [panel.pool for panel in panels] == ["", "a pool"]
    assert read_panels(panels_text(panels, {"commit": "abc"})) == (panels, {"commit": "abc"})


def test_equal_data_give_equal_bytes_without_a_date():
    """No random id, no time of drawing."""
    pytest.importorskip("matplotlib")
    panels = panels_of(rows(), pools())
    drawn = [draw(panels, title="a title", caption="a caption") for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert b"<svg" in drawn[0]
    assert b"dc:date" not in drawn[0]


def test_a_figure_without_a_curve_is_refused():
    """An empty picture would look like a finding."""
    with pytest.raises(ValueError, match="no curve"):
        draw([], title="", caption="")
