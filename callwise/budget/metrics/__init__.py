"""Metrics of a run: sums of its rows, windows, the machine, and how they are shown to others."""

from callwise.budget.metrics.metrics_knobs import MetricsKnobs
from callwise.budget.metrics.names import METRICS, SERVICE_METRICS, Metric

__all__ = ["METRICS", "SERVICE_METRICS", "Metric", "MetricsKnobs"]
