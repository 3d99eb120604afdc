"""A run's folder, read back: its manifest, finished turns and calls.

A run that was killed may end in half a line, or have calls of a turn that it did not
finish. Both are left out and said; a run that goes on drops them too. Anything else
that cannot be read is an error, with file and line.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from turnwise.calls.errors import FormatError
from turnwise.replay.run_folder import RUN_VERSION
from turnwise.report.lines import CallLine, Line, TurnLine

__all__ = ["RunRecord", "load_run"]

LineT = TypeVar("LineT", bound=Line)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run, as its folder tells it.

    Args:
        folder: where it stands.
        manifest: which app, knobs and conversations it is of, and its plan.
        turns: its finished turns, in the file's order.
        rows: the calls of those turns, in the file's order.
        notices: what a person should know about the reading, in words.
    """

    folder: Path
    manifest: Mapping[str, Any]
    turns: tuple[TurnLine, ...]
    rows: tuple[CallLine, ...]
    notices: tuple[str, ...] = ()

    @property
    def plan(self) -> Mapping[str, Any] | None:
        """The plan that the run started with, as JSON; None when it has none."""
        plan = self.manifest.get("plan")
        return plan if isinstance(plan, dict) else None

    @property
    def is_simulated(self) -> bool:
        """Whether a simulated model answered any of it."""
        return self.manifest.get("simulated") is True or any(turn.simulated for turn in self.turns)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise FormatError(
            path, None, "there is no such file; expected the folder of a run"
        ) from None
    except OSError as error:
        raise FormatError(path, None, f"cannot be read: {error.strerror or error}") from error


def _json(data: bytes) -> Any:
    """Return JSON; every way of not being JSON is a ValueError."""
    try:
        return json.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _manifest(path: Path) -> dict[str, Any]:
    data = _read(path)
    try:
        manifest = _json(data)
    except ValueError as error:
        raise FormatError(path, None, f"expected a run's manifest as JSON: {error}") from error
    if not isinstance(manifest, dict) or "turnwise_run" not in manifest:
        raise FormatError(path, None, "expected a run's manifest, with `turnwise_run`")
    if manifest["turnwise_run"] != RUN_VERSION:
        raise FormatError(
            path,
            None,
            f"is of format {manifest['turnwise_run']!r}, this Turnwise reads {RUN_VERSION}",
        )
    return manifest


def _whole_lines(path: Path, notices: list[str]) -> Iterator[tuple[int, bytes]]:
    """Give the lines that end, each with its number from 1; a cut last one is said."""
    data = _read(path)
    whole, _, rest = data.rpartition(b"\n")
    if rest:
        notices.append(f"{path.name}: the last line is cut off and was left out")
    for number, line in enumerate(whole.split(b"\n") if whole else (), start=1):
        if line.strip():
            yield number, line


def _lines(path: Path, kind: type[LineT], notices: list[str]) -> list[LineT]:
    read: list[LineT] = []
    for number, line in _whole_lines(path, notices):
        try:
            read.append(kind.model_validate(_json(line)))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "line"
            raise FormatError(path, number, f"{where}: {first['msg']}") from error
        except ValueError as error:
            raise FormatError(path, number, f"expected one JSON object: {error}") from error
    return read


def _disagreements(turns: list[TurnLine], rows: list[CallLine]) -> list[str]:
    """Return what to say when turns and ledger count differently."""
    counted = Counter(row.turn_key for row in rows)
    wrong = [turn for turn in turns if turn.asked is not None and turn.asked != counted[turn.key]]
    if not wrong:
        return []
    first = wrong[0]
    problem = (
        f"{len(wrong)} of {len(turns)} turns disagree with the ledger: turn {first.turn} of "
        f"{first.conversation_id!r} says {first.asked} calls and the ledger has "
        f"{counted[first.key]}"
    )
    return [problem]


def load_run(folder: Path) -> RunRecord:
    """Return a run, read from its folder.

    Args:
        folder: holds `manifest.json`, `turns.jsonl` and `ledger.jsonl`.

    Raises:
        FormatError: when a file is missing, of another format, or cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FormatError(folder, None, "there is no such folder; expected the folder of a run")
    manifest = _manifest(folder / "manifest.json")
    notices: list[str] = []
    turns = _lines(folder / "turns.jsonl", TurnLine, notices)
    rows = _lines(folder / "ledger.jsonl", CallLine, notices)
    finished = {turn.key for turn in turns}
    kept = [row for row in rows if row.turn_key is None or row.turn_key in finished]
    if len(kept) < len(rows):
        notices.append(
            f"ledger.jsonl: {len(rows) - len(kept)} calls are of turns that were not finished "
            "and were left out"
        )
    notices.extend(_disagreements(turns, kept))
    return RunRecord(folder, manifest, tuple(turns), tuple(kept), tuple(notices))
