"""Settings of a sweep evaluated on all cores or on a dask cluster, stored as they finish.

Results come back in any order, and this process alone stores each when it comes. Whatever ends a
sweep (Ctrl-C, a killed worker, the machine) loses only the settings that are being evaluated.
`SweepStore.finish` restores the order of the settings, so the number of workers changes the time
and nothing else.
"""

import os
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from callwise.calls.errors import CallwiseError, ConfigError
from callwise.optional_library import install_hint, loaded
from callwise.tuning.setting import Evaluator, Setting, SettingResult
from callwise.tuning.sweep_store import SweepStore

__all__ = ["OnResult", "SweepProgress", "WorkerDied", "connect", "run_sweep"]

_MAX_NAMES_SHOWN = 8
_LOST_WORKER = {"BrokenProcessPool", "KilledWorker", "CommClosedError"}


class WorkerDied(CallwiseError):
    """A worker process was killed. Settings that were finished before it are stored."""


@dataclass(frozen=True, slots=True)
class SweepProgress:
    """Progress of a sweep.

    Args:
        done: settings that are stored, including this one and those of earlier runs.
    """

    result: SettingResult
    done: int
    total: int


OnResult = Callable[[SweepProgress], None]


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """The result of a setting, or the error that the evaluator raised, as text.

    Many exceptions do not survive pickling between processes, so errors travel as text.

    Args:
        trace: the traceback; empty for errors that Callwise raises on purpose.
    """

    setting: str
    results: Sequence[SettingResult] = ()
    problem: str = ""
    is_config_error: bool = False
    trace: str = ""

    def result(self) -> SettingResult:
        """Return the result.

        Raises:
            ConfigError: when the evaluator raised one.
            CallwiseError: when it raised anything else, or gave results of other settings.
        """
        if self.problem:
            kind = ConfigError if self.is_config_error else CallwiseError
            error = kind(f"evaluating {self.setting!r} failed: {self.problem}")
            if self.trace:
                error.add_note(self.trace)
            raise error
        given = [result.setting for result in self.results]
        if given != [self.setting]:
            raise CallwiseError(
                f"expected a result of {self.setting!r}, the evaluator gave those of {given}"
            )
        return self.results[0]


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """The folder and the variables of the process that asked, for workers of earlier sweeps.

    Workers are kept for the next sweep, with what was set when they began.

    Args:
        variables: those that settings are read from.
    """

    folder: str
    variables: Mapping[str, str]

    @classmethod
    def here(cls) -> Self:
        """Return those of this process."""
        return cls(str(Path.cwd()), dict(filter(_is_read, os.environ.items())))

    def enter(self) -> None:
        """Make them those of this process."""
        for name, _ in list(filter(_is_read, os.environ.items())):
            del os.environ[name]
        os.environ.update(self.variables)
        os.chdir(self.folder)


def _is_read(variable: tuple[str, str]) -> bool:
    return variable[0].upper().startswith(("CALLWISE_", "OPENAI_"))


def _evaluate(
    evaluator: Evaluator,
    setting: Setting,
    parent_pid: int,
    surroundings: _Surroundings | None = None,
) -> _Evaluated:
    """Evaluate a setting, in the parent or in a worker, where Ctrl-C is ignored.

    Args:
        surroundings: of the parent, for a worker on the same machine.
    """
    if os.getpid() != parent_pid and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if surroundings is not None:
            surroundings.enter()
    try:
        return _Evaluated(setting.name, evaluator.evaluate([setting]))
    except CallwiseError as error:
        is_config_error = isinstance(error, ConfigError)
        return _Evaluated(setting.name, problem=str(error), is_config_error=is_config_error)
    except Exception as error:  # noqa: BLE001 - becomes text; see `_Evaluated`
        problem = f"{type(error).__name__}: {error}"
        return _Evaluated(setting.name, problem=problem, trace=traceback.format_exc())


@dataclass(frozen=True, slots=True)
class _LostTask:
    error: BaseException


def connect(address: str, *, timeout_seconds: float = 30.0) -> Any:
    """Return a client of a running scheduler, such as `tcp://10.0.0.5:8786`.

    The caller closes it.

    Raises:
        ConfigError: when the extra is not installed, or no scheduler answers there.
    """
    need = f"many machines need an extra: {install_hint('cluster')}"
    distributed = loaded("distributed", need)
    try:
        return distributed.Client(address, timeout=timeout_seconds, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ConfigError(
            f"no dask scheduler answers at {address} ({error}); start one with `dask scheduler`, "
            "and workers with `dask worker ADDRESS`"
        ) from error


def _cluster_backend(client: Any) -> Any:
    """Return a joblib backend that works on a dask client's workers.

    joblib's own backend for dask does not report a lost task to its caller, so the sweep would
    wait without end. This one reports it, by the two methods that every joblib backend has.
    """
    from joblib._dask import DaskDistributedBackend  # noqa: PLC0415 - heavy, and an extra

    class _ReportingBackend(DaskDistributedBackend):  # type: ignore[misc] # joblib has no types
        def submit(self, func: Any, callback: Callable[[Any], None] | None = None) -> Any:
            future: Future[Any] = super().submit(func, callback)

            def report(done: Future[Any]) -> None:
                error = done.exception()
                if error is not None and callback is not None:
                    callback(_LostTask(error))

            future.add_done_callback(report)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, _LostTask):
                raise out.error
            return super().retrieve_result_callback(out)

    return _ReportingBackend(client=client)


def run_sweep(
    settings: Sequence[Setting],
    evaluator: Evaluator,
    store: SweepStore,
    *,
    jobs: int = -1,
    on_result: OnResult | None = None,
    client: Any = None,
) -> None:
    """Evaluate the settings that are not stored yet, and store each as it finishes.

    The store is left open and unordered: `SweepStore.finish` ends a sweep.

    Args:
        jobs: worker processes; -1 is one per core, and 1 works in this process. On a cluster
            its workers decide.

    Raises:
        WorkerDied: when a worker was killed, or its machine went away.
        ConfigError: when the evaluator raised one, `jobs` is 0, or another setting of the same
            name is stored.
        CallwiseError: when the evaluator raised anything else.
        DiskFull: when the disk is full.
    """
    if jobs == 0:
        raise ConfigError("expected jobs other than 0: a number of processes, or -1 for all cores")
    by_name = {setting.name: setting for setting in settings}
    stored = {setting.name: setting.identity for setting in store.settings}
    for setting in settings:
        if stored.setdefault(setting.name, setting.identity) != setting.identity:
            raise ConfigError(f"two different settings are named {setting.name!r}; rename one")
    finished = store.finished
    waiting = [setting for setting in by_name.values() if setting.name not in finished]
    done = len(by_name) - len(waiting)
    with _results(waiting, evaluator, jobs=jobs, client=client) as arriving:
        while (arrived := _next(arriving, store, by_name)) is not None:
            result = arrived.result()
            store.add(by_name[result.setting], result)
            done += 1
            if on_result is not None:
                on_result(SweepProgress(result, done, len(by_name)))


def _next(
    arriving: Iterator[_Evaluated], store: SweepStore, names: Collection[str]
) -> _Evaluated | None:
    """Return the next setting that is finished, or None after the last."""
    try:
        return next(arriving, None)
    except Exception as error:
        if not _LOST_WORKER & {kind.__name__ for kind in type(error).__mro__}:
            raise
        finished = store.finished
        open_names = [name for name in names if name not in finished]
        shown = ", ".join(map(repr, open_names[:_MAX_NAMES_SHOWN]))
        more = len(open_names) - _MAX_NAMES_SHOWN
        raise WorkerDied(
            f"a worker was killed, perhaps by a lack of memory ({type(error).__name__}). "
            f"{len(names) - len(open_names)} of {len(names)} settings are stored in {store.path}; "
            f"not finished: {shown}{f' and {more} more' if more > 0 else ''}. "
            "Run the same command again to continue, with fewer --jobs if memory is short"
        ) from error


@contextmanager
def _results(
    settings: Sequence[Setting], evaluator: Evaluator, *, jobs: int, client: Any
) -> Iterator[Iterator[_Evaluated]]:
    """Yield results as they finish; stop the workers when the block is left early."""
    here = os.getpid()
    if not settings or (jobs == 1 and client is None):
        yield (_evaluate(evaluator, setting, here) for setting in settings)
        return
    import joblib  # noqa: PLC0415 - a quarter of a second that a single process need not pay

    with ExitStack() as stack:
        surroundings = _Surroundings.here() if client is None else None
        if client is None:
            stack.enter_context(joblib.parallel_config(backend="loky", max_nbytes=None))
        else:
            stack.enter_context(joblib.parallel_config(backend=_cluster_backend(client)))
        # joblib warns of results that were not taken, loky of workers that it had to stop: an
        # interrupted sweep wants both.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", UserWarning)
        parallel = joblib.Parallel(
            n_jobs=min(jobs, len(settings)), return_as="generator_unordered", batch_size=1
        )
        arriving = parallel(
            joblib.delayed(_evaluate)(evaluator, setting, here, surroundings)
            for setting in settings
        )
        stack.callback(arriving.close)
        yield arriving
