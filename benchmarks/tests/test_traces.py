"""Cost of traces and metrics."""

from benchmarks.traces import measure


def test_the_target_is_that_of_metrics_and_spans_together():
    """Each mode has its figures; only both together, in wall and processor time, have a target."""
    figures = measure(turns=1, passes=2).figures
    assert len(figures) == 8
    assert [each.what[:26] for each in figures if each.target] == ["metrics and spans together"] * 2
