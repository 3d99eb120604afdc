"""Use of the machine: processors, memory, and GPUs where NVIDIA's library answers.

`psutil` reads processors and memory where it is installed, else `/proc` of Linux; elsewhere they
are left out. A GPU is read through `pynvml` (of the package nvidia-ml-py); without it, without a
driver or without a GPU there is none.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

__all__ = ["GpuUse", "Resources", "nvidia_gpus"]


class GpuUse(NamedTuple):
    """Use of one GPU: of its processors and of its memory, in [0, 1]."""

    processors: float
    memory: float


class _Machine(Protocol):
    def cpu(self) -> float | None:
        """Return the part of the processors in use since the last call; None at the first."""

    def memory(self) -> float | None:
        """Return the part of the memory in use."""


class Resources:
    """Reads the use of the machine.

    Args:
        gpus: returns the use of each GPU; None finds NVIDIA's.
        proc: folder of the kernel's figures, where psutil is not installed.
        machine: reads processors and memory; None takes psutil, else `proc`.
    """

    def __init__(
        self,
        *,
        gpus: Callable[[], Sequence[GpuUse]] | None = None,
        proc: Path = Path("/proc"),
        machine: _Machine | None = None,
    ) -> None:
        self._gpus = gpus or nvidia_gpus()
        self._machine = machine or _psutil() or _Proc(proc)
        self._machine.cpu()

    def read(self) -> dict[str, float]:
        """Return the use of each resource that can be read, in [0, 1]; of several GPUs the mean."""
        gpus = self._gpus()
        use = {
            "cpu": self._machine.cpu(),
            "memory": self._machine.memory(),
            "gpu": _mean([each.processors for each in gpus]),
            "gpu_memory": _mean([each.memory for each in gpus]),
        }
        return {name: share for name, share in use.items() if share is not None}


def _mean(shares: Sequence[float]) -> float | None:
    return math.fsum(shares) / len(shares) if shares else None


def _imported(name: str) -> Any:
    """Return a library, or None where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        return None


def nvidia_gpus(library: Any = None) -> Callable[[], Sequence[GpuUse]]:
    """Return a function that returns the use of each GPU of NVIDIA; of none where none answers.

    Args:
        library: in place of `pynvml`.
    """
    library = library or _imported("pynvml")
    if library is None:
        return tuple
    try:
        library.nvmlInit()
        count = library.nvmlDeviceGetCount()
        handles = [library.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
    except library.NVMLError:  # there is no driver, or no GPU
        return tuple

    def read() -> Sequence[GpuUse]:
        found = []
        for handle in handles:
            try:
                rates = library.nvmlDeviceGetUtilizationRates(handle)
                memory = library.nvmlDeviceGetMemoryInfo(handle)
            except library.NVMLError:  # a GPU that does not report it, or that was taken away
                continue
            found.append(GpuUse(rates.gpu / 100, memory.used / memory.total))
        return found

    return read


def _psutil() -> _Machine | None:
    library = _imported("psutil")
    return None if library is None else _Psutil(library)


class _Psutil:
    def __init__(self, library: Any) -> None:
        self._library = library

    def cpu(self) -> float | None:
        return float(self._library.cpu_percent(None)) / 100

    def memory(self) -> float | None:
        return float(self._library.virtual_memory().percent) / 100


class _Proc:
    """Figures of Linux: `stat` and `meminfo`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before: tuple[int, int] | None = None

    def cpu(self) -> float | None:
        text = self._text("stat")
        if not text.startswith("cpu "):
            return None
        # user, nice, system, idle, iowait, irq, softirq, steal; guests are part of user
        times = [int(each) for each in text.split("\n", 1)[0].split()[1:9]]
        now = sum(times), times[3] + times[4]
        before, self._before = self._before, now
        if before is None or now[0] <= before[0]:
            return None
        return 1 - (now[1] - before[1]) / (now[0] - before[0])

    def memory(self) -> float | None:
        lines = (line.split() for line in self._text("meminfo").splitlines())
        kilobytes: Mapping[str, str] = {each[0]: each[1] for each in lines if len(each) > 1}
        total, free = kilobytes.get("MemTotal:"), kilobytes.get("MemAvailable:")
        if total is None or free is None or not int(total):
            return None
        return 1 - int(free) / int(total)

    def _text(self, name: str) -> str:
        try:
            return (self._folder / name).read_text(encoding="ascii")
        except OSError:  # another system
            return ""
