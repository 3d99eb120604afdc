"""A sweep's settings on all cores, or on many machines, written as they finish.

Chunks of settings go out and results come back in any order; each is written at once, by
this process alone. So whatever ends a sweep (Ctrl-C, a worker that is killed, the machine)
costs what was in flight, and the same command goes on from there. The order in which results
came is undone when the folder is finished, which is why the number of workers changes
nothing but the time.
"""

import os
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from turnwise.calls.errors import ConfigError, TurnwiseError
from turnwise.tune.sweep_store import SweepStore
from turnwise.tune.sweeps.chunk import ChunkResult, evaluate_chunk, results_of
from turnwise.tune.sweeps.cluster import cluster_backend
from turnwise.tune.sweeps.evaluating import Evaluator, Setting, SettingResult

__all__ = ["OnResult", "SweepProgress", "WorkerDied", "run_sweep"]


_MAX_NAMES_SHOWN = 8


class WorkerDied(TurnwiseError):
    """A worker process ended in the middle of its work. What was finished before stands."""


@dataclass(frozen=True, slots=True)
class SweepProgress:
    """How far a sweep is.

    Args:
        result: the setting that has just been written.
        done: settings that stand, this one and those of earlier runs included.
        total: settings of the sweep.
    """

    result: SettingResult
    done: int
    total: int


OnResult = Callable[[SweepProgress], None]


def run_sweep(
    settings: Sequence[Setting],
    evaluator: Evaluator,
    folder: SweepStore,
    *,
    jobs: int = -1,
    chunk: int = 1,
    on_result: OnResult | None = None,
    client: Any = None,
) -> None:
    """Evaluate the settings that do not stand in a folder yet, and write each as it finishes.

    The folder is left open and unordered: `SweepStore.finish` ends a sweep.

    Args:
        settings: distinct, by name.
        evaluator: sent to every worker; see `Evaluator`.
        folder: of the sweep.
        jobs: worker processes; -1 is one a core, and 1 works in this process. On a cluster
            its workers decide.
        chunk: settings that a worker takes at a time; at least 1. More of them share what an
            evaluator loads, and more are lost when a worker dies.
        on_result: told of each setting after it was written, in any order.
        client: of a dask cluster (`connect`). None works on this machine.

    Raises:
        WorkerDied: when a worker was killed, or its machine went away.
        ConfigError: when the evaluator raised one, `jobs` cannot be, or another setting of
            the same name stands in the folder.
        TurnwiseError: when the evaluator raised anything else.
        DiskFull: when there is no room for the rows.
    """
    if jobs == 0 or chunk < 1:
        raise ConfigError(f"expected jobs other than 0 and chunk of at least 1: {jobs}, {chunk}")
    by_name = {setting.name: setting for setting in settings}
    _hold_names(settings, folder)
    finished = folder.finished
    waiting = [setting for setting in by_name.values() if setting.name not in finished]
    chunks = [waiting[start : start + chunk] for start in range(0, len(waiting), chunk)]
    done = len(by_name) - len(waiting)
    with _results(chunks, evaluator, jobs=jobs, client=client) as arriving:
        while (arrived := _next(arriving, folder, by_name)) is not None:
            for result in results_of(arrived):
                folder.add(by_name[result.setting], result)
                done += 1
                if on_result is not None:
                    on_result(SweepProgress(result, done, len(by_name)))


def _hold_names(settings: Sequence[Setting], folder: SweepStore) -> None:
    stored = {setting.name: setting.identity for setting in folder.settings}
    for setting in settings:
        if stored.setdefault(setting.name, setting.identity) != setting.identity:
            raise ConfigError(f"two different settings are named {setting.name!r}; rename one")


def _next(
    arriving: Iterator[ChunkResult], folder: SweepStore, names: Collection[str]
) -> ChunkResult | None:
    """Return the next chunk that is finished, or None after the last.

    Raises:
        WorkerDied: when a worker did.
    """
    try:
        return next(arriving, None)
    except Exception as error:
        if not _is_lost_worker(error):
            raise
        open_names = [name for name in names if name not in folder.finished]
        shown = ", ".join(map(repr, open_names[:_MAX_NAMES_SHOWN]))
        more = len(open_names) - _MAX_NAMES_SHOWN
        raise WorkerDied(
            f"a worker was killed, perhaps for want of memory ({type(error).__name__}). "
            f"{len(names) - len(open_names)} of {len(names)} settings stand in {folder.path}; "
            f"not finished: {shown}{f' and {more} more' if more > 0 else ''}. "
            "Run the same command again to go on, with fewer --jobs if memory is short"
        ) from error


def _is_lost_worker(error: Exception) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"BrokenProcessPool", "KilledWorker", "CommClosedError"})


@contextmanager
def _results(
    chunks: Sequence[Sequence[Setting]], evaluator: Evaluator, *, jobs: int, client: Any
) -> Iterator[Iterator[ChunkResult]]:
    """Give results as they finish; ends the workers' work when the block is left early."""
    here = os.getpid()
    if not chunks or (jobs == 1 and client is None):
        yield (evaluate_chunk(evaluator, settings, here) for settings in chunks)
        return
    import joblib  # noqa: PLC0415 - a quarter of a second that a single process need not pay

    with ExitStack() as stack:
        if client is None:
            stack.enter_context(joblib.parallel_config(backend="loky", max_nbytes=None))
        else:
            stack.enter_context(joblib.parallel_config(backend=cluster_backend(client)))
        # joblib warns of results that nobody took, and loky of workers that it had to stop:
        # both are what an interrupted sweep wants.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", UserWarning)
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
        arriving = parallel(
            joblib.delayed(evaluate_chunk)(evaluator, settings, here) for settings in chunks
        )
        stack.callback(arriving.close)
        yield arriving
