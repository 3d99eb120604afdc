"""A run's folder, read back: its manifest, finished turns and calls.

A run that was killed may end in half a line, or have calls of a turn that it did not
finish. Both are left out and reported; a run that continues drops them too. Anything else
that cannot be read is an error, with file and line. Fields that a report does not need are
ignored, so an app may write more.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from callwise.budget.usage import JSON_NAMES, NO_USAGE, Usage
from callwise.calls.call import Outcome, Purpose, Role
from callwise.calls.choice import Choice
from callwise.calls.errors import FormatError
from callwise.calls.reply import is_virtual_time
from callwise.recordings.run_folder import RUN_VERSION, no_folder
from callwise.recordings.typed_json import under_this_name
from callwise.text_layout import counted

if TYPE_CHECKING:
    import pandas as pd

    from callwise.report.feedback import Feedback

__all__ = ["CallLine", "RunRecord", "Spans", "TurnKey", "TurnLine", "calls_by_turn", "load_run"]

TurnKey = tuple[str, int]
"""Conversation id and turn number."""

Count = Annotated[int, Field(ge=0)]

Amount = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
"""USD or seconds."""


class RunFileLine(BaseModel):
    """Base of the lines: frozen, and open to fields of others."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def _usage_field(name: str) -> Any:
    kind = Amount if name.endswith(("usd", "seconds")) else Count
    return (kind | None, None) if name in {"sent", "usd"} else (kind, 0)


_FlatUsage = create_model(
    "_FlatUsage", __base__=RunFileLine, **{name: _usage_field(name) for name in JSON_NAMES}
)
"""A call's usage as a line has it; `sent` and `usd` may be null."""


class CallLine(RunFileLine):
    """One line of `ledger.jsonl`: how one asked call ended, and what it spent."""

    conversation: str | None = None
    turn: Count | None = None
    """A number, also where the ledger has it as the name of a scope."""
    node: str | None = None
    role: Role
    purpose: Purpose
    outcome: Outcome
    repair: Count = 0
    is_unreadable: bool = False
    """Answered, and not in the form that was asked for; False in runs that did not count it."""
    is_speculative: bool = False
    end_round: Count | None = None
    """Round of its turn that it ended in; None where that is not known."""
    endpoint: str = ""
    """Name of the endpoint that was asked; empty in runs that did not write it."""
    is_simulated: bool = False
    """Whether a simulated model answered it; True in no other form than `true`."""
    usage: InstanceOf[Usage] = NO_USAGE
    """Read from its flat names (`JSON_NAMES`); 0 where a run did not count it."""
    error: str = ""
    """Error of the call; empty without one."""
    notes: str = ""
    """Repairs and omissions in reading the answer; empty for none."""
    choice: InstanceOf[Choice] | None = None
    """Reason for its model, where a policy has chosen it."""
    usd: Amount | None = None
    """Cost; None when it is not known, which is not 0."""

    @model_validator(mode="before")
    @classmethod
    def _with_usage(cls, line: Any) -> Any:
        if not isinstance(line, Mapping) or isinstance(line.get("usage"), Usage):
            return line
        usage = Usage.from_json(_FlatUsage.model_validate(line).__dict__)
        if line.get("sent") is None:  # not counted then
            is_replayed = line.get("outcome") == Outcome.REPLAYED
            usage = usage._replace(sent=0 if is_replayed else usage.requests)
        return {**line, "usage": usage}

    @field_validator("choice", mode="before")
    @classmethod
    def _is_choice(cls, value: Any) -> Choice | None:
        return Choice.from_json(value) if isinstance(value, Mapping) else value

    @field_validator("endpoint", "error", "notes", mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> str:
        return value if isinstance(value, str) else ""

    @field_validator("is_simulated", mode="before")
    @classmethod
    def _is_true(cls, value: Any) -> bool:
        return value is True

    @property
    def is_virtual(self) -> bool:
        """Whether its seconds are virtual, see `is_virtual_time`."""
        return is_virtual_time(is_simulated=self.is_simulated, endpoint=self.endpoint)

    @property
    def is_refused(self) -> bool:
        """Whether a limit refused it, so that nothing was sent."""
        return self.outcome is Outcome.REFUSED

    @property
    def turn_key(self) -> TurnKey | None:
        """Turn that asked, or None outside of one."""
        if self.conversation is None or self.turn is None:
            return None
        return self.conversation, self.turn


class Spans(RunFileLine):
    """Rounds or seconds of a turn: until the reply, and until its end."""

    reply: Amount = 0.0
    turn: Amount = 0.0


class TurnLine(RunFileLine):
    """One line of `turns.jsonl`: one finished turn."""

    conversation_id: str
    turn: Count
    reply: str = ""
    user_id: str | None = None
    """The user whose memory it used; None for a conversation without one."""
    arm: str = ""
    """Its arm of an experiment; empty outside of one. Untrusted."""
    asked: Count | None = None
    """Calls asked, by the turn's own record; None where it is not recorded."""
    rounds: Spans | None = None
    path_seconds: Spans | None = None
    degraded: tuple[Mapping[str, Any], ...] = ()
    """The nodes that went on without their call, and why."""
    wound_down: tuple[Mapping[str, Any], ...] = ()
    """Parts that the turn gave up for want of calls, and why."""
    search: Mapping[str, Any] = {}
    """Record of the app's search."""
    simulated: bool = False
    prompts: Mapping[str, tuple[str, ...]] = {}
    """Digests of the prompts that were asked, by node, of an app that has no prompt files."""

    @property
    def key(self) -> TurnKey:
        """Conversation id and number."""
        return self.conversation_id, self.turn

    @property
    def degraded_causes(self) -> tuple[str, ...]:
        """Causes of its degradation, each once: endpoints that are down first. Untrusted."""
        down: list[str] = []
        others: list[str] = []
        for row in self.degraded:
            role, endpoint = row.get("role"), row.get("endpoint")
            if role and endpoint:
                down.append(f"{role} at {endpoint} is down")
            else:
                others.append(f"{row.get('node') or '-'} {row.get('reason') or ''}".rstrip())
        return tuple(dict.fromkeys(down + others))

    @property
    def spans(self) -> tuple[float | None, float | None, float | None, float | None]:
        """Rounds to the reply and to the end, then seconds; None where not recorded."""
        rounds, path = self.rounds, self.path_seconds
        return (
            None if rounds is None else rounds.reply,
            None if rounds is None else rounds.turn,
            None if path is None else path.reply,
            None if path is None else path.turn,
        )

    @property
    def search_stop(self) -> str:
        """Return the reason why the search stopped; empty where not recorded."""
        return str(self.search.get("stop_reason") or self.search.get("stopped") or "")


def calls_by_turn(
    turns: Iterable[TurnLine], rows: Iterable[CallLine]
) -> dict[TurnKey, list[CallLine]]:
    """Return the calls of each finished turn, in the ledger's order."""
    found: dict[TurnKey, list[CallLine]] = {turn.key: [] for turn in turns}
    for row in rows:
        if row.turn_key in found:
            found[row.turn_key].append(row)
    return found


LineT = TypeVar("LineT", bound=RunFileLine)

RawLine = Mapping[str, Any]
"""One line of a run's file as plain JSON, unchecked."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run, read from its folder.

    Args:
        manifest: its app, knobs, conversations and plan.
        turns: its finished turns, in the file's order.
        rows: the calls of those turns and those outside of turns, in the file's order.
        notices: remarks for the user about the reading.
        raw_turns: the lines of `turns` as plain JSON; empty unless asked for.
        raw_rows: the lines of `rows`, likewise.
        torn_files: names of files that end in half a line: the run was killed.
    """

    folder: Path
    manifest: Mapping[str, Any]
    turns: tuple[TurnLine, ...]
    rows: tuple[CallLine, ...]
    notices: tuple[str, ...] = ()
    raw_turns: tuple[RawLine, ...] = ()
    raw_rows: tuple[RawLine, ...] = ()
    torn_files: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return one line: folder, turns and calls, and whether they are simulated."""
        counts = f"{counted(len(self.turns), 'turn')}, {counted(len(self.rows), 'call')}"
        return f"<Run {self.folder}: {counts}{', simulated' * self.is_simulated}>"

    @property
    def frame(self) -> "pd.DataFrame":
        """Its calls as a data frame: `callwise.report.calls_frame` of it.

        Raises:
            ConfigError: when pandas is not installed.
        """
        from callwise.report.frames import calls_frame  # noqa: PLC0415 - it reads this module

        return calls_frame(self)

    @property
    def turns_frame(self) -> "pd.DataFrame":
        """Its turns as a data frame: `callwise.report.turns_frame` of it.

        Raises:
            ConfigError: when pandas is not installed.
        """
        from callwise.report.frames import turns_frame  # noqa: PLC0415 - it reads this module

        return turns_frame(self)

    def feedback(self, conversation: str, turn: int, **given: Any) -> "Feedback":
        """Add feedback of a person to the run's folder, and return it as it is kept.

        Args:
            turn: its number in the conversation; starts at 0.
            given: fields of `Feedback`: `rating` 1-5, `thumb` up or down, `correction`,
                `preferred` (a candidate's id or text), `comment`, `by`, `time`, and `call`, the
                number of a call in the ledger.

        Raises:
            ConfigError: when it is about a turn, call or candidate that the run does not have.
        """
        from callwise.report.feedback import add_feedback  # noqa: PLC0415 - it reads this module

        record = {"conversation": conversation, "turn": turn, **given}
        return add_feedback(self.folder, [record])[0]

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
        manifest = under_this_name(_json(data))
    except ValueError as error:
        raise FormatError(path, None, f"expected a run's manifest as JSON: {error}") from error
    if not isinstance(manifest, dict) or "callwise_run" not in manifest:
        raise FormatError(path, None, "expected a run's manifest, with `callwise_run`")
    if manifest["callwise_run"] != RUN_VERSION:
        raise FormatError(
            path,
            None,
            f"is of format {manifest['callwise_run']!r}, this Callwise reads {RUN_VERSION}",
        )
    return manifest


def _lines(path: Path, kind: type[LineT], torn: list[str]) -> list[tuple[LineT, RawLine]]:
    """Return each line that ends, checked and as plain JSON; name the file in `torn` if cut."""
    whole, _, rest = _read(path).rpartition(b"\n")
    if rest:
        torn.append(path.name)
    read: list[tuple[LineT, RawLine]] = []
    for number, line in enumerate(whole.split(b"\n") if whole else (), start=1):
        if not line.strip():
            continue
        try:
            raw = _json(line)
            read.append((kind.model_validate(raw), raw))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(map(str, first["loc"])) or "line"
            raise FormatError(path, number, f"{field}: {first['msg']}") from error
        except ValueError as error:
            raise FormatError(path, number, f"expected one JSON object: {error}") from error
    return read


def _disagreements(turns: Sequence[TurnLine], rows: Sequence[CallLine]) -> list[str]:
    """Return a notice when turns and ledger disagree; empty otherwise."""
    counted = Counter(row.turn_key for row in rows)
    wrong = [turn for turn in turns if turn.asked is not None and turn.asked != counted[turn.key]]
    if not wrong:
        return []
    first = wrong[0]
    problem = (
        f"{len(wrong)} of {len(turns)} turns disagree with the ledger: turn {first.turn} of "
        f"{first.conversation_id!r} records {first.asked} calls and the ledger has "
        f"{counted[first.key]}"
    )
    return [problem]


def load_run(folder: Path, *, keep_raw: bool = False) -> RunRecord:
    """Return a run, read from its folder.

    Args:
        folder: has `manifest.json`, `turns.jsonl` and `ledger.jsonl`.
        keep_raw: keep each line as plain JSON too.

    Raises:
        FormatError: when a file is missing, of another format, or cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise no_folder(folder)
    from callwise.report.model_table import (  # noqa: PLC0415 - it reads this module
        calibration_lines,
        drift_lines,
    )

    manifest = _manifest(folder / "manifest.json")
    torn: list[str] = []
    turns = _lines(folder / "turns.jsonl", TurnLine, torn)
    rows = _lines(folder / "ledger.jsonl", CallLine, torn)
    notices = [f"{name}: the last line is cut off and was left out" for name in torn]
    finished = {turn.key for turn, _ in turns}
    kept = [each for each in rows if each[0].turn_key is None or each[0].turn_key in finished]
    if len(kept) < len(rows):
        notices.append(
            f"ledger.jsonl: {len(rows) - len(kept)} calls are of turns that were not finished "
            "and were left out"
        )
    checked, calls = tuple(turn for turn, _ in turns), tuple(row for row, _ in kept)
    notices.extend(_disagreements(checked, calls))
    notices.extend((*drift_lines(manifest, calls), *calibration_lines(manifest, calls)))
    return RunRecord(
        folder,
        manifest,
        checked,
        calls,
        tuple(notices),
        raw_turns=tuple(raw for _, raw in turns) if keep_raw else (),
        raw_rows=tuple(raw for _, raw in kept) if keep_raw else (),
        torn_files=tuple(torn),
    )
