"""Arrivals of a recorded trace of requests to a language model service.

The Azure trace of conversations (Azure/AzurePublicDataset, CC-BY-4.0) has 19,366 requests in 58
minutes with their input and output tokens, and no text. It is read from the folder that
`CALLWISE_DATA` names.
"""

import csv
import os
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

__all__ = ["Arrival", "arrivals", "trace_path"]

FILE = Path("llm_serving_traces") / "AzureLLMInferenceTrace_conv.csv"


class Arrival(NamedTuple):
    """One request of the trace.

    Args:
        at_seconds: since the first one.
    """

    at_seconds: float
    input_tokens: int
    output_tokens: int


def trace_path() -> Path:
    """Return where the trace is read from; it need not exist."""
    root = Path(__file__).resolve().parents[2]
    return Path(os.environ.get("CALLWISE_DATA", root.parent / "shared" / "data")) / FILE


def arrivals(path: Path, *, speed: float = 1.0, most: int | None = None) -> list[Arrival]:
    """Return the arrivals in order.

    Args:
        speed: factor by which time passes faster; above 0.
        most: of them, from the beginning; None returns all.

    Raises:
        OSError: when the trace cannot be read.
    """
    read: list[Arrival] = []
    first: datetime | None = None
    with path.open(encoding="ascii", newline="") as lines:
        for row in csv.DictReader(lines):
            # Seven digits of a second are one more than Python reads.
            at = datetime.fromisoformat(row["TIMESTAMP"][:26])
            first = first or at
            seconds = (at - first).total_seconds() / speed
            read.append(Arrival(seconds, int(row["ContextTokens"]), int(row["GeneratedTokens"])))
            if most is not None and len(read) == most:
                break
    return read
