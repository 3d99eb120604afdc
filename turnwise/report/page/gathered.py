"""A run's folder, read for the page: what a report checks, and the texts beside it.

`load_run` reads the fields that a report adds up and passes over the rest. The page shows
the rest too (user texts, search trees, errors), so the lines are read once more as plain
JSON, and only those that `load_run` kept.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turnwise.report.lines import TurnKey
from turnwise.report.page.plain import text
from turnwise.report.run_record import RunRecord, load_run
from turnwise.report.tables import ReportTables, summarise

__all__ = ["GatheredRun", "gather"]

RawLine = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GatheredRun:
    """A run, as the page needs it.

    Args:
        record: from `load_run`.
        tables: from `summarise`; every total that the page shows is from here.
        raw_turns: each finished turn's line as plain JSON, in the order of `record.turns`.
        raw_calls: each finished turn's ledger lines as plain JSON, in the file's order.
    """

    record: RunRecord
    tables: ReportTables
    raw_turns: tuple[RawLine, ...]
    raw_calls: Mapping[TurnKey, tuple[RawLine, ...]]

    @property
    def name(self) -> str:
        """The folder's own name. Untrusted."""
        return self.record.folder.resolve().name

    @property
    def preset(self) -> str:
        """The preset that the run says it had; empty when it does not say. Untrusted."""
        knobs = self.record.manifest.get("knobs")
        return text(knobs.get("preset")) if isinstance(knobs, Mapping) else ""

    @property
    def keys(self) -> tuple[TurnKey, ...]:
        """Which turns it has, in their order."""
        return tuple(turn.key for turn in self.record.turns)


def _raw_lines(path: Path) -> Iterator[RawLine]:
    """Give the whole lines of a file that `load_run` has read without a complaint."""
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    for line in whole.split(b"\n"):
        if line.strip():
            yield json.loads(line)


def _raw_turns(record: RunRecord) -> tuple[RawLine, ...]:
    found: dict[TurnKey, RawLine] = {}
    for line in _raw_lines(record.folder / "turns.jsonl"):
        found.setdefault((str(line["conversation_id"]), int(line["turn"])), line)
    return tuple(found.get(turn.key, {}) for turn in record.turns)


def _raw_calls(record: RunRecord) -> dict[TurnKey, tuple[RawLine, ...]]:
    found: dict[TurnKey, list[RawLine]] = {turn.key: [] for turn in record.turns}
    for line in _raw_lines(record.folder / "ledger.jsonl"):
        if line.get("conversation") is None or line.get("turn") is None:
            continue
        calls = found.get((str(line["conversation"]), int(line["turn"])))
        if calls is not None:
            calls.append(line)
    return {key: tuple(calls) for key, calls in found.items()}


def gather(folder: Path) -> GatheredRun:
    """Return a run, read from its folder.

    Raises:
        FormatError: when it is no run, or cannot be read; see `load_run`.
    """
    record = load_run(folder)
    tables = summarise(
        record.rows, record.turns, plan=record.plan, is_simulated=record.is_simulated
    )
    return GatheredRun(record, tables, _raw_turns(record), _raw_calls(record))
