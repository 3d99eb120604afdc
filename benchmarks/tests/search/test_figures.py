"""Figures: tested by their data; the drawing by its bytes."""

from dataclasses import replace

import pytest

from benchmarks.search.calibrated import TrustRow
from benchmarks.search.comparing import compare
from benchmarks.search.drawing import draw, reach
from benchmarks.search.figures import SIMULATED, STYLES, panels, trust_panels
from benchmarks.search.settings import CHECKED, OURS, PEERS
from benchmarks.tests.search.test_comparing import NOISE, baseline, make_runs


def rows():
    """Return comparisons of two policies, one at two caps, and one that is not reported."""
    return compare(
        [
            baseline(NOISE),
            make_runs(NOISE + 2, cap=6),
            make_runs(NOISE + 1, cap=3),
            make_runs(NOISE, policy="auto", misses=0.9),
            make_runs(NOISE, policy="best-of-N, plain"),
        ]
    )


def test_a_panel_holds_each_curve_from_left_to_right():
    """Quality by mean requests, with the interval of each place."""
    (panel,) = panels(rows(), "requests", units={"a pool": "stars"})
    assert (panel.title, panel.unit) == ("a pool", "stars")
    assert (panel.random_truth, panel.oracle_truth) == (0, 10)
    assert [curve.label for curve in panel.curves] == [
        "classic_uct",
        "listwise",
        "best-of-N, plain",
    ]
    listwise = panel.curves[1]
    assert [(place.x, place.cap) for place in listwise.places] == [(3, 3), (6, 6)]
    assert listwise.places[1].quality.mean == pytest.approx(NOISE.mean() + 2)
    assert [curve.is_dashed for curve in panel.curves] == [False, False, True]
    assert [curve.has_band for curve in panel.curves] == [True, True, False]


def test_the_second_figure_has_rounds_on_its_axis():
    """The same curves, at other places."""
    (panel,) = panels(rows(), "rounds")
    assert {place.x for curve in panel.curves for place in curve.places} == {2}


def test_what_is_not_reported_is_not_drawn():
    """Nor is a pool of nothing else."""
    missed = compare([make_runs(NOISE, misses=0.9)])
    assert panels(missed, "requests") == []


def test_every_policy_has_a_look_of_its_own():
    """Colour, marker and line together tell any two apart."""
    labels = {*OURS, *PEERS, *(f"{policy} by agreement" for policy in CHECKED)}
    assert labels == set(STYLES)
    assert len(set(STYLES.values())) == len(STYLES)


def test_the_simulator_is_drawn_beside_its_pool():
    """Recorded solid with its interval, simulated dashed, by cap."""
    found = [TrustRow("a pool", "listwise", cap, 0.5, 0.4, 0.6, 0.55) for cap in (6, 3)]
    (panel,) = trust_panels(found, ["listwise", "auto"])
    recorded, simulated = panel.curves
    assert [place.x for place in recorded.places] == [3, 6]
    assert simulated.label == "listwise" + SIMULATED
    assert (recorded.is_dashed, simulated.is_dashed) == (False, True)
    assert simulated.places[0].quality.mean == 0.55


def test_a_panel_reaches_to_the_oracle_where_that_is_near():
    """Far above the curves it is given as text, so that they do not lie flat."""
    (panel,) = panels(rows(), "requests")
    low, high = reach(panel)
    assert low < 0
    assert high < panel.oracle_truth
    near = replace(panel, oracle_truth=3.0)
    assert reach(near)[1] > 3.0


def test_equal_data_give_equal_bytes_without_a_date():
    """No random id, no time of drawing."""
    pytest.importorskip("matplotlib")
    drawn = [
        draw(panels(rows(), "requests"), x_label="requests", caption="a caption") for _ in range(2)
    ]
    assert drawn[0] == drawn[1]
    assert b"<svg" in drawn[0]
    assert b"dc:date" not in drawn[0]


def test_a_figure_without_a_panel_is_refused():
    """An empty picture would look like a finding."""
    with pytest.raises(ValueError, match="no panel"):
        draw([], x_label="requests", caption="")
