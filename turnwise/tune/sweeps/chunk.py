"""What a worker does: evaluate a few settings, and bring back plain data whatever happens.

An exception that travels between processes is taken apart and put together again, which
many cannot survive. So what goes wrong travels as text.
"""

import os
import signal
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from turnwise.calls.errors import ConfigError, TurnwiseError
from turnwise.tune.sweeps.evaluating import Evaluator, Setting, SettingResult

__all__ = ["ChunkResult", "evaluate_chunk", "results_of"]


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """What became of a chunk.

    Args:
        names: of its settings, in order.
        results: one a setting; empty where the evaluator raised.
        problem: what it raised, in words; empty where it did not.
        is_config_error: whether that was a `ConfigError`.
        trace: where it came from; empty for errors that Turnwise raises on purpose.
    """

    names: tuple[str, ...]
    results: tuple[SettingResult, ...] = ()
    problem: str = ""
    is_config_error: bool = False
    trace: str = ""


def evaluate_chunk(
    evaluator: Evaluator, settings: Sequence[Setting], parent_pid: int
) -> ChunkResult:
    """Return what settings gave.

    Args:
        evaluator: asked once, for all of them.
        settings: at least one.
        parent_pid: the process that collects. In any other, Ctrl-C is left to that one.
    """
    if os.getpid() != parent_pid and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    names = tuple(setting.name for setting in settings)
    try:
        return ChunkResult(names, results=tuple(evaluator.evaluate(settings)))
    except TurnwiseError as error:
        return ChunkResult(
            names, problem=str(error), is_config_error=isinstance(error, ConfigError)
        )
    except Exception as error:  # noqa: BLE001 - told as text; see above
        problem = f"{type(error).__name__}: {error}"
        return ChunkResult(names, problem=problem, trace=traceback.format_exc())


def results_of(chunk: ChunkResult) -> tuple[SettingResult, ...]:
    """Return a chunk's results, one a setting.

    Raises:
        ConfigError: when the evaluator raised one.
        TurnwiseError: when it raised anything else, or gave results of other settings.
    """
    shown = ", ".join(map(repr, chunk.names))
    if chunk.problem:
        kind = ConfigError if chunk.is_config_error else TurnwiseError
        error = kind(f"evaluating {shown} failed: {chunk.problem}")
        if chunk.trace:
            error.add_note(chunk.trace)
        raise error
    given = tuple(result.setting for result in chunk.results)
    if given != chunk.names:
        raise TurnwiseError(f"expected results of {shown}, the evaluator gave {given!r}")
    return chunk.results
