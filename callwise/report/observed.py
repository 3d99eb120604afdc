"""Metrics and traces of a run, where its settings ask for them: of a pipeline, or of awake agents.

Nothing here changes what is asked or answered, and what does not work is stated once and costs no
run.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from callwise.budget.budgeter import Budgeter
from callwise.budget.metrics.metrics_knobs import MetricsKnobs
from callwise.budget.metrics.reporter import Reporter
from callwise.calls.errors import ConfigError
from callwise.calls.trust import TrustedSettings, place_of
from callwise.knobs import settings_digest
from callwise.knobs.trace_knobs import TraceKnobs

if TYPE_CHECKING:
    from callwise.report.traces import Traces

__all__ = ["observing", "traces_of"]


def traces_of(
    settings: TrustedSettings,
    knobs: TraceKnobs,
    *,
    notify: Callable[[str], None] | None = None,
    environ: Mapping[str, str] | None = None,
    is_simulated_time: bool = False,
) -> "Traces | None":
    """Return what sends the spans of a run, to be closed after it; None where none are sent.

    The ids follow from the settings, those of the traces left out, and the turn: a replay under the
    same settings has the same.

    Args:
        settings: of the run.
        knobs: its knobs of traces.
        notify: called with what a person should know, in another thread.
        environ: environment variables; None takes the process's.
        is_simulated_time: whether the clock is of a loop in virtual time.

    Raises:
        ConfigError: when the collector's address cannot be used, or only a file names it.
    """
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
        is_simulated_time=is_simulated_time,
    )
    if knobs.otlp_endpoint is not None and not settings.trust.reaches(knobs.otlp_endpoint, None):
        raise ConfigError(
            f"only a file names the collector {place_of(knobs.otlp_endpoint)!r:.120} "
            "(traces.otlp_endpoint), which is sent what the turns do. Nothing was sent. If you "
            "mean it, add --set traces.otlp_endpoint=..., or set traces.enabled=false"
        )
    return traces


@contextmanager
def observing(
    settings: TrustedSettings,
    metrics: MetricsKnobs | None,
    traces: TraceKnobs,
    *,
    folder: Path,
    notify: Callable[[str], None],
    environ: Mapping[str, str] | None = None,
    is_simulated_time: bool = False,
    closing_seconds: float = 5.0,
) -> Iterator[Callable[..., AbstractContextManager[None]]]:
    """Give a function that observes the calls of budgeters until its context ends.

    Its context ends before the budgeters are closed.

    Args:
        settings: of the run.
        folder: where `status.json` is written, made where it is missing.
        notify: called with each sentence for the user, also in another thread.
        environ: environment variables; None takes the process's.
        is_simulated_time: see `traces_of`.
        closing_seconds: longest wait at the end for spans that are not sent yet.

    Raises:
        ConfigError: when an extra is missing, an address cannot be used, or only a file names it.
    """
    if metrics is not None and metrics.textfile is not None:
        settings.require_named("metrics.textfile", metrics.textfile)
    sending = traces_of(
        settings, traces, notify=notify, environ=environ, is_simulated_time=is_simulated_time
    )

    @contextmanager
    def observe(budgeter: Budgeter, *others: Budgeter) -> Iterator[None]:
        if sending is not None:
            for each in (budgeter, *others):
                sending.watch(each)
        if metrics is None:
            yield
            return
        if metrics.status:
            folder.mkdir(parents=True, exist_ok=True)
        reporter = Reporter(budgeter.metrics(*others), metrics, folder=folder, notify=notify)
        reporter.start()
        try:
            yield
        finally:
            reporter.close()

    try:
        yield observe
    finally:
        if sending is not None:
            sending.close(closing_seconds)
