"""Knobs of traces, which the pipeline and awake agents have in common."""

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["TraceKnobs"]


class TraceKnobs(BaseModel):
    """Spans of each turn and its calls for a collector of OpenTelemetry, by OTLP over HTTP."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = False
    """Send spans."""
    otlp_endpoint: str | None = Field(default=None, min_length=1, max_length=2000)
    """The collector's address, such as `http://localhost:4318`. None takes that of the variable
    OTEL_EXPORTER_OTLP_ENDPOINT, and else port 4318 of this machine; headers, time limit and so
    on come from the other variables of that kind."""
    content: bool = False
    """Send prompts and answers too, and the texts of errors."""
    run: str = Field(default="", max_length=200)
    """Part of the ids of traces: runs of one conversation with the same knobs have the same
    traces, unless they have different names here."""
