"""The curve of quality against cost, between the weakest and the strongest model."""

import pytest

from callwise.tuning.panel import measured_panel
from callwise.tuning.quality_unit import unit_of
from callwise.tuning.routing.curve import CurvePoint, curve_json, curve_table, routing_curve

OF = [f"c{number}" for number in range(8)]
STRONG = [0.9, 0.8, 0.9, 0.7, 0.8, 0.9, 0.8, 0.6]
WEAK = [0.5, 0.5, 0.4, 0.3, 0.5, 0.4, 0.5, 0.3]


def _curve(middle: list[float]) -> dict[str, CurvePoint]:
    quality = measured_panel({"strong": STRONG, "middle": middle, "weak": WEAK}, OF)
    cost = measured_panel({"strong": [10.0] * 8, "middle": [6.0] * 8, "weak": [2.0] * 8}, OF)
    points = routing_curve(
        cost, quality, strong="strong", weak="weak", strong_shares={"middle": 0.5}
    )
    assert [point.table for point in points] == ["weak", "middle", "strong"]
    assert curve_json(points)[1]["strong_call_share"] == 0.5
    table = curve_table(points, unit_of(""), is_simulated=True)
    assert "gap_recovered" in table.columns
    assert "(simulated)" in table.title
    return {point.table: point for point in points}


def test_the_ends_recover_none_and_all_of_the_gap() -> None:
    """A table halfway in cost is compared with a random mix at that cost."""
    mixed = [(high + low) / 2 for high, low in zip(STRONG, WEAK, strict=True)]
    found = _curve(mixed)
    for name, share in (("weak", 0.0), ("middle", 0.5), ("strong", 1.0)):
        point = found[name]
        assert point.recovered.mean == pytest.approx(share)
        assert point.cost_share == pytest.approx(share)
        assert point.gain.mean == pytest.approx(0.0)


def test_a_table_as_good_as_the_strongest_gains_half_of_the_gap() -> None:
    """At half of the cost."""
    middle = _curve(STRONG)["middle"]
    assert middle.recovered.mean == pytest.approx(1.0)
    assert middle.difference.mean == pytest.approx(0.0)
    assert middle.gain.low > 0


def test_without_a_gap_nothing_is_recovered() -> None:
    """The share of a gap that is not shown to be there has no meaning."""
    quality = measured_panel({"strong": STRONG, "weak": [*STRONG[1:], STRONG[0]]}, OF)
    cost = measured_panel({"strong": [10.0] * 8, "weak": [2.0] * 8}, OF)
    points = routing_curve(cost, quality, strong="strong", weak="weak")
    assert [point.recovered for point in points] == [None, None]
    with pytest.raises(ValueError, match="lack"):
        routing_curve(cost, quality, strong="strong", weak="tiny")
