"""A baseline: what a run spent, turn by turn, as a file that is committed beside the code.

It holds figures, knobs and digests only: no message, no reply, no path, no key. The same
run gives the same bytes, whatever the concurrency it was made with.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from turnwise.calls.errors import FormatError
from turnwise.report.run_record import CallLine, TurnKey, TurnLine
from turnwise.testing.gate.baseline_file import (
    BASELINE_VERSION,
    baseline_text,
    read_document,
    write_text,
)
from turnwise.testing.gate.counting import MAX_COUNT, TurnFigures, whole_paths

__all__ = ["BASELINE_VERSION", "Baseline"]

_WAY_OUT = "restore it from version control, or make it anew with --update"


class Baseline(BaseModel):
    """What a run spent, and of what it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    turnwise_baseline: Literal[1] = BASELINE_VERSION
    """Version of the format."""
    app: str
    """Import string or name of the app."""
    preset: str = ""
    """Name of the preset; empty for an app that has none."""
    settings: str | None = None
    """Digest of all knobs. Informs only: a new knob with a default changes it."""
    conversations: str | None = None
    """Digest of the conversations; None where the run does not say."""
    is_simulated: bool = False
    """Whether a simulated model gave every answer."""
    is_replayed: bool = False
    """Whether every answer came from a recording."""
    knobs: dict[str, JsonValue] = {}
    """All knobs, flat: `search.rollouts` to 4."""
    prompts: dict[str, str] | None = None
    """Digest of each prompt by name; None where the run does not say."""
    asked_outside: dict[str, Annotated[int, Field(ge=1, le=MAX_COUNT)]] = {}
    """Calls asked outside of any turn, by `node/role/purpose`."""
    turns: tuple[TurnFigures, ...] = ()
    """Its finished turns, sorted by conversation and number; none twice."""

    @field_validator("turnwise_baseline", mode="before")
    @classmethod
    def _is_this_version(cls, version: Any) -> Any:
        # True is 1 in Python, and no version.
        return None if isinstance(version, bool) else version

    @field_validator("turns", mode="before")
    @classmethod
    def _from_a_list(cls, turns: Any) -> Any:
        return tuple(turns) if isinstance(turns, list) else turns

    @field_validator("asked_outside")
    @classmethod
    def _has_whole_paths(cls, asked: dict[str, int]) -> dict[str, int]:
        return whole_paths(asked)

    @field_validator("turns")
    @classmethod
    def _has_no_turn_twice(cls, turns: tuple[TurnFigures, ...]) -> tuple[TurnFigures, ...]:
        ordered = sorted(turns, key=lambda each: each.key)
        for before, after in pairwise(ordered):
            if before.key == after.key:
                raise ValueError(f"turn {after.turn} of {after.conversation!r} stands twice")
        return tuple(ordered)

    @property
    def is_exact(self) -> bool:
        """Whether the same run again gives the same counts: nothing in it was live."""
        return self.is_simulated or self.is_replayed

    @property
    def asked_count(self) -> int:
        """Calls asked in all, those outside of turns included."""
        return sum(turn.asked_count for turn in self.turns) + sum(self.asked_outside.values())

    @property
    def mean_calls_a_turn(self) -> float:
        """Calls in turns, a turn, those that a limit refused left out; 0 without turns."""
        made = sum(turn.asked_count for turn in self.turns) - self.refused_count
        return made / max(len(self.turns), 1)

    @property
    def refused_count(self) -> int:
        """Calls of turns that a limit refused."""
        return sum(turn.refused for turn in self.turns)

    @classmethod
    def of_run(cls, folder: Path, *, quality: Mapping[TurnKey, float] | None = None) -> "Baseline":
        """Return the baseline that a run's folder makes.

        Args:
            folder: the run's folder, out of `turnwise replay`.
            quality: quality of replies by turn, where somebody judged them.

        Raises:
            FormatError: when it cannot be read, is torn where calls would be lost, or
                holds no finished turn.
        """
        from turnwise.testing.gate.reading import baseline_of_run  # noqa: PLC0415 - it reads us

        return baseline_of_run(Path(folder), quality=quality).baseline

    @classmethod
    def of_rows(
        cls,
        rows: Iterable[CallLine | Mapping[str, Any]],
        turns: Iterable[TurnLine | Mapping[str, Any]] | None = None,
        *,
        app: str,
        preset: str = "",
        settings: str | None = None,
        conversations: str | None = None,
        knobs: Mapping[str, Any] | None = None,
        prompts: Mapping[str, str] | None = None,
        is_simulated: bool | None = None,
        is_replayed: bool | None = None,
        quality: Mapping[TurnKey, float] | None = None,
    ) -> "Baseline":
        """Return the baseline of a run that is in memory.

        Args:
            rows: its ledger, a line a call, as `LedgerRow.as_dict` gives it.
            turns: its finished turns as in `turns.jsonl`; None takes the turns that the
                ledger names, which then have no rounds.
            app: name of what was run; another name is another graph.
            preset: name of its preset; empty where there is none.
            settings: digest of its knobs.
            conversations: digest of what was run; None where nobody made one.
            knobs: nested or flat.
            prompts: digest of each prompt by name; None where nobody made them.
            is_simulated: whether a simulated model gave every answer; None goes by the rows.
            is_replayed: whether a recording gave every answer; None goes by the rows.
            quality: quality of replies by turn.

        Raises:
            ConfigError: when a line is none of a run, or a turn stands twice.
        """
        from turnwise.testing.gate.reading import baseline_of_rows  # noqa: PLC0415 - it reads us

        return baseline_of_rows(
            rows,
            turns,
            quality=quality,
            is_simulated=is_simulated,
            is_replayed=is_replayed,
            app=app,
            preset=preset,
            settings=settings,
            conversations=conversations,
            knobs=knobs or {},
            prompts=prompts,
        )

    @classmethod
    def read(cls, path: Path) -> "Baseline":
        """Return the baseline that a file holds.

        Raises:
            ConfigError: when there is no such file.
            FormatError: when it is half-written, of another version, or nonsense.
        """
        document = read_document(Path(path))
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "baseline"
            words = first["msg"].removeprefix("Value error, ")
            raise FormatError(path, None, f"{where}: {words}; {_WAY_OUT}") from error

    def text(self) -> str:
        """Return it as it is committed: JSON, one knob and one turn a line."""
        return baseline_text(self.model_dump(mode="json", exclude_none=True))

    def write(self, path: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            ConfigError: when the file may not be written, or is something else than a
                baseline; nothing was overwritten then.
        """
        write_text(Path(path), self.text())
