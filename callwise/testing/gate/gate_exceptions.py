"""Exceptions of the gate: known flaky cases, each with a reason, an owner and an end.

    - conversation: moving-*
      turn: 7
      node: lats_search
      reason: the judge ties on this turn, and a top-up comes and goes
      owner: sam
      until: 2026-12-31

A finding that an exception covers is shown and does not fail. An exception past its last day
fails by itself, so that none is permanent.
"""

from collections.abc import Sequence
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from callwise.calls.errors import ConfigError, FormatError
from callwise.knobs.knob_paths import nearest_names
from callwise.knobs.presets import parse_yaml
from callwise.report.run_record import TurnKey

__all__ = ["GateException", "Quarantine", "read_quarantine"]

Words = Annotated[str, Field(min_length=1, pattern=r"\S")]


class GateException(BaseModel):
    """One exception. At least one of conversation, turn and node narrows it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    conversation: Words = "*"
    """Id, or a pattern with `*`, `?` and `[...]`; case matters."""
    turn: Annotated[int, Field(ge=0, strict=True)] | None = None
    """Number of the turn; None is any."""
    node: Words = "*"
    """Node, or a pattern likewise. One that is not `*` covers that node's calls only."""
    reason: Words
    """Reason why it is flaky."""
    owner: Words
    """Name of the one to fix it."""
    until: date
    """Last day on which it is covered."""

    @field_validator("until", mode="before")
    @classmethod
    def _is_a_day(cls, value: Any) -> date:
        # Pydantic would take a number for seconds since 1970.
        if not isinstance(value, str):
            raise ValueError("expected a day such as 2026-12-31")  # noqa: TRY004 - pydantic's way
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"expected a day such as 2026-12-31, got {value!r}") from None

    @model_validator(mode="after")
    def _is_narrow(self) -> "GateException":
        if self.turn is None and not self.conversation.strip("*") and not self.node.strip("*"):
            raise ValueError(
                "name a conversation, a turn or a node: an entry that covers everything would "
                "switch the gate off"
            )
        return self

    def covers(self, key: TurnKey | None, node: str | None) -> bool:
        """Return whether it covers calls of a turn and node.

        Args:
            key: conversation and turn; None outside of turns.
        """
        is_node = self.node == "*" or (node is not None and fnmatchcase(node, self.node))
        if key is None:
            return is_node and self.conversation == "*" and self.turn is None
        conversation, turn = key
        return (
            is_node and fnmatchcase(conversation, self.conversation) and self.turn in {None, turn}
        )


class Quarantine:
    """Exceptions, split into the active and the expired ones.

    Args:
        today: the day that decides; needed where there are any.
    """

    def __init__(self, cases: Sequence[GateException] = (), *, today: date = date.min) -> None:
        self.active = tuple(case for case in cases if today <= case.until)
        self.expired = tuple(case for case in cases if today > case.until)

    def exception_of(self, key: TurnKey | None, node: str | None) -> GateException | None:
        """Return the first active exception that covers this, or None."""
        return next((case for case in self.active if case.covers(key, node)), None)


def _exception(data: Any, number: int, path: Path) -> GateException:
    if not isinstance(data, dict):
        raise FormatError(
            path, None, f"entry {number}: expected fields such as owner: and until:, got {data!r}"
        )
    try:
        return GateException.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        # A misspelt field is also a missing one: the misspelling is what to say.
        first = min(problems, key=lambda each: each["type"] != "extra_forbidden")
        name = ".".join(map(str, first["loc"]))
        words = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            nearest = nearest_names(name, list(GateException.model_fields))
            words = "unknown field" + (f"; did you mean {' or '.join(nearest)}?" if nearest else "")
        problem = f"{name}: {words}" if name else words
        raise FormatError(path, None, f"entry {number}: {problem}") from error


def read_quarantine(path: Path) -> tuple[GateException, ...]:
    """Return the entries of a file, YAML or JSON: a list.

    Raises:
        ConfigError: when there is no such file.
        FormatError: when it is something else, with the number of the entry.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"there is no quarantine file {path}") from None
    except UnicodeDecodeError as error:
        raise FormatError(path, None, f"expected UTF-8 text: {error.reason}") from error
    except OSError as error:
        raise FormatError(path, None, f"cannot be read: {error.strerror or error}") from error
    # YAML includes JSON, but for tabs between its parts.
    document = parse_yaml(text.expandtabs() if path.suffix == ".json" else text, path)
    if document is None:
        return ()
    if not isinstance(document, list):
        raise FormatError(path, None, "expected a list of entries, each with an owner and an end")
    return tuple(_exception(data, number, path) for number, data in enumerate(document, start=1))
