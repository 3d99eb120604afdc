"""`study.jsonl`: optuna's own journal of what was asked and told, cut back to whole batches.

optuna reads its journal line by line and cannot pass a line that was not finished, nor would
a batch that was half told be asked again as it was. So a mark is written behind each batch,
and what stands behind the last mark is cut off: the batch is asked again, gives the same
settings, and those that were evaluated stand in the rows.
"""

import os
from pathlib import Path
from typing import Any

import orjson

from turnwise.calls.errors import FormatError

__all__ = ["BATCH_MARK", "cut_back"]

BATCH_MARK = "turnwise_batches_told"
"""Name of the study's attribute that counts batches; setting it is the mark."""


def cut_back(path: Path) -> int:
    """Cut a study's journal off behind its last whole batch, and return how many it has.

    Args:
        path: the journal; one that does not exist has none.

    Raises:
        FormatError: for a line that ends and cannot be read; with its number.
    """
    if not path.exists():
        return 0
    batches = end = position = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            position += len(line)
            if not line.endswith(b"\n"):
                break
            told = _batches_told(path, number, line)
            if told is not None:
                batches, end = told, position
    os.truncate(path, end)
    return batches


def _batches_told(path: Path, number: int, line: bytes) -> int | None:
    try:
        entry: Any = orjson.loads(line)
        attributes = entry.get("user_attr") or {}
        told = attributes.get(BATCH_MARK)
    except (ValueError, AttributeError) as error:
        raise FormatError(
            path, number, "expected a line of optuna's journal; delete the file to ask again"
        ) from error
    return told if isinstance(told, int) else None
