"""Time that the command line takes to start."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure, Measured

__all__ = ["measure"]

COMMAND = Path(sys.executable).with_name("callwise")


def _seconds(*words: str, repeats: int = 7) -> float:
    """Return the median wall time of a command, in seconds."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            began = time.perf_counter()
            subprocess.run(  # noqa: S603 - our own command
                [str(COMMAND), *words], cwd=folder, check=True, capture_output=True
            )
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def measure() -> Measured:
    """Return start-up times with their targets, and a bare interpreter's for comparison."""
    bare_times = []
    for _ in range(7):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        bare_times.append(time.perf_counter() - began)
    bare = statistics.median(bare_times)
    figures = []
    for words, target in ((("--help",), 0.3), (("plan", "--preset", "classic", "--json"), 1.0)):
        seconds = _seconds(*words)
        figures.append(
            Figure(
                f"`callwise {' '.join(words)}`, seconds",
                f"{seconds:.2f} ({seconds / bare:.0f} x a bare interpreter)",
                f"<= {target}",
                seconds <= target,
            )
        )
    return Measured("startup", figures)


if __name__ == "__main__":
    for figure in measure().figures:
        print(figure)
