"""Traces of a session's turns, where its knobs ask for them."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from callwise.calls.errors import ConfigError
from callwise.calls.trust import place_of
from callwise.knobs import settings_digest
from graph.settings import PipelineSettings

if TYPE_CHECKING:
    from callwise.report.traces import Traces

__all__ = ["traces_of"]


def traces_of(
    settings: PipelineSettings,
    *,
    notify: Callable[[str], None] | None = None,
    environ: Mapping[str, str] | None = None,
) -> "Traces | None":
    """Return what sends the spans of a session, to be closed after it; None where none are sent.

    The ids follow from the knobs, those of the traces left out, and the turn: a replay under the
    same knobs has the same.

    Args:
        notify: called with what a person should know, in another thread.
        environ: environment variables; None takes the process's.

    Raises:
        ConfigError: when the collector's address cannot be used, or only a file names it.
    """
    knobs = settings.traces
    if not knobs.enabled:
        return None
    from callwise.report.traces import Traces  # noqa: PLC0415 - rarely used

    variables = os.environ if environ is None else environ
    traces = Traces(
        knobs.otlp_endpoint,
        run=knobs.run + settings_digest(settings),
        content=knobs.content,
        notify=notify,
        environ=variables,
    )
    if knobs.otlp_endpoint is not None and not settings.trust.reaches(knobs.otlp_endpoint, None):
        raise ConfigError(
            f"only a file names the collector {place_of(knobs.otlp_endpoint)!r:.120} "
            "(traces.otlp_endpoint), which is sent what the turns do. Nothing was sent. If you "
            "mean it, add --set traces.otlp_endpoint=..., or set traces.enabled=false"
        )
    return traces
