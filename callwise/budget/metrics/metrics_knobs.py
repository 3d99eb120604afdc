"""Knobs of metrics: where they are served or written, and how often."""

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["MetricsKnobs"]


class MetricsKnobs(BaseModel):
    """Metrics of a run. Nothing of them changes what is asked or answered."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    port: int | None = Field(default=None, ge=0, le=65_535)
    """Port of this machine's loopback address at which Prometheus finds the metrics; 0 takes a free
    one. None serves none. Needs the extra `prometheus`."""
    textfile: str | None = None
    """File that is written each `interval_seconds`, for the textfile collector of node_exporter;
    its name ends with `.prom`. None writes none. Needs the extra `prometheus`."""
    status: bool = False
    """Write `status.json` in the session's folder each second, for `callwise top`."""
    interval_seconds: float = Field(default=60.0, ge=1.0, le=3600.0)
    """Length of the windows over which rates, means and anomalies are computed."""
