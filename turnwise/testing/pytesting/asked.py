"""What a test asked, and how it is counted."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from turnwise.report.run_record import CallLine, TurnLine
from turnwise.safe_text import printable

__all__ = ["AskedCall", "AskedTurn", "CallCounts", "count_calls", "path_of"]

NO_NODE = "-"
"""What is shown where no node asked."""


@dataclass(frozen=True, slots=True)
class AskedTurn:
    """One turn of a test.

    Args:
        source: which of the test's runs it is of, in words; empty for the test's own models.
        conversation: the conversation's id. Untrusted.
        turn: its number there. Starts at 0.
    """

    source: str
    conversation: str
    turn: int

    def __str__(self) -> str:
        """Return it as it is shown."""
        where = f" ({self.source})" if self.source else ""
        return f"turn {self.turn} of {printable(self.conversation)}{where}"


@dataclass(frozen=True, slots=True)
class AskedCall:
    """One call of a test, whatever its outcome.

    Args:
        turn: the turn that asked; None where the run has it outside of any.
        line: its line of the ledger.
    """

    turn: AskedTurn | None
    line: CallLine

    @property
    def node(self) -> str:
        """The node that asked; empty where none did."""
        return self.line.node or ""


def path_of(line: CallLine) -> str:
    """Return who asked, as `node/role/purpose`; one line, for people."""
    return f"{printable(line.node or NO_NODE)}/{line.role}/{line.purpose}"


@dataclass(frozen=True, slots=True)
class CallCounts:
    """Calls asked, counted from every side. Each map is sorted by name.

    Args:
        total: all of them.
        by_node: by node; `-` where none asked.
        by_role: by role.
        by_purpose: by purpose.
        by_turn: by conversation and turn; turns that asked nothing are there with 0.
    """

    total: int
    by_node: dict[str, int]
    by_role: dict[str, int]
    by_purpose: dict[str, int]
    by_turn: dict[tuple[str, int], int]


def count_calls(rows: Iterable[CallLine], turns: Iterable[TurnLine] = ()) -> CallCounts:
    """Return what a run asked.

    Args:
        rows: its ledger.
        turns: its turns, so that those without a call are counted too.
    """
    lines = list(rows)
    by_turn = Counter({turn.key: 0 for turn in turns})
    by_turn.update(line.turn_key for line in lines if line.turn_key is not None)
    return CallCounts(
        total=len(lines),
        by_node=_sorted(line.node or NO_NODE for line in lines),
        by_role=_sorted(str(line.role) for line in lines),
        by_purpose=_sorted(str(line.purpose) for line in lines),
        by_turn=dict(sorted(by_turn.items())),
    )


def _sorted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
