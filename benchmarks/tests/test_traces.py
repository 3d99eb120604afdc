"""Cost of traces and metrics."""

from benchmarks.traces import measure


def test_the_target_is_that_of_metrics_and_spans_together():
    """Each mode has its figures; only the sum of both threads for both together has a target."""
    figures = measure(blocks=2, turns=1).figures
    assert len(figures) == 9
    (target,) = [each for each in figures if each.target]
    assert target.what.startswith("metrics and spans together: sum")
