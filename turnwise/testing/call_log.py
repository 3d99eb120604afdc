"""What a test asked in all: by its own models, and in the runs that it replayed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from turnwise.calls import Outcome
from turnwise.report.run_record import CallLine, TurnLine
from turnwise.testing.call_counts import AskedTurn, CallCounts, LoggedCall, count_calls
from turnwise.testing.fixture_endpoints import FixtureEndpoints
from turnwise.testing.gate import Baseline
from turnwise.testing.gate.run_figures import baseline_of_rows, baseline_of_run
from turnwise.testing.plugin_summary import CallNote
from turnwise.testing.replayed_run import ReplayedRun
from turnwise.testing.turn_llm import TurnLLM

__all__ = ["FixtureCallLog"]


@dataclass(frozen=True, slots=True)
class _Source:
    """One place that a test's calls come from: its own models, or a run."""

    label: str
    rows: Sequence[CallLine]
    turns: Sequence[TurnLine]


@dataclass(slots=True)
class FixtureCallLog:
    """A test's calls, whoever asked them.

    Args:
        asker: what the test's own models ask.
        seats: who answers them.
        runs: the runs that it replayed, in order.
    """

    asker: TurnLLM
    seats: FixtureEndpoints
    runs: list[ReplayedRun] = field(default_factory=list)
    _before: tuple[int, int, int] = (0, 0, 0)
    """Calls, turns and runs that a fixture of a wider scope had before this test."""

    def begin_test(self) -> None:
        """Begin a test: what was asked so far is not its own."""
        self._before = len(self.asker.rows), len(self.asker.turns), len(self.runs)

    def own(self) -> CallCounts:
        """Return what the test's own models asked."""
        return count_calls(self._own_rows(), self._own_turns())

    def asked(self, *, in_test: bool = False) -> list[LoggedCall]:
        """Return every call, whatever its outcome.

        Args:
            in_test: leave out what was asked before this test.
        """
        return [
            LoggedCall(
                None if row.turn_key is None else AskedTurn(source.label, *row.turn_key), row
            )
            for source in self._sources(in_test=in_test)
            for row in source.rows
        ]

    def baseline(self, run: ReplayedRun | None, name: str) -> Baseline:
        """Return the figures of a run, or of the test's own models.

        Args:
            run: which run; None is the test's own models.
            name: what to call the program behind the test's own models.

        Raises:
            FormatError: when the run cannot be read.
        """
        if run is not None:
            return baseline_of_run(run.folder)
        # Rounds are left out: a program that is not ours may run its nodes in threads, and
        # what happens to overlap then is no property of the program.
        rows = [row.as_dict() for row in self.asker.rows]
        is_replayed = True if self.seats.is_recorded else None
        return baseline_of_rows(
            rows,
            self._own_turns(),
            app=name,
            prompts=self.asker.prompts or None,
            is_replayed=is_replayed,
        )

    def is_live(self, run: ReplayedRun | None) -> bool:
        """Return whether the calls of a run, or of the test's own models, vary by themselves."""
        return self.seats.is_live if run is None else run.is_live

    def note(
        self,
        test: str,
        *,
        updated: Sequence[tuple[str, str, str]],
        held: Sequence[str],
        gains: Sequence[str],
    ) -> CallNote:
        """Return the test's note for the summary; see `CallNote`."""
        asked = self.asked(in_test=True)
        by_turn = {
            AskedTurn(source.label, *turn.key): 0
            for source in self._sources(in_test=True)
            for turn in source.turns
        }
        for call in asked:
            if call.turn is not None:
                by_turn[call.turn] = by_turn.get(call.turn, 0) + 1
        return CallNote(
            test=test,
            asked=len(asked),
            turns=len(by_turn),
            most=max(by_turn.values(), default=0),
            kind=", ".join(dict.fromkeys(self._kinds())),
            updated=list(updated),
            held=list(held),
            gains=list(gains),
        )

    def _own_rows(self) -> list[CallLine]:
        return [CallLine.model_validate(row.as_dict()) for row in self.asker.rows]

    def _own_turns(self) -> list[TurnLine]:
        return [TurnLine(conversation_id=name, turn=turn) for name, turn in self.asker.turns]

    def _sources(self, *, in_test: bool) -> list[_Source]:
        rows, turns, runs = self._before if in_test else (0, 0, 0)
        found = [
            _Source(f"run {number}, {run.label}", run.rows, run.turns)
            for number, run in enumerate(self.runs[runs:], start=runs + 1)
        ]
        own = _Source("own models", self._own_rows()[rows:], self._own_turns()[turns:])
        if own.rows or own.turns:
            found.insert(0, own)
        # A test with one source needs no name for it.
        return found if len(found) > 1 else [_Source("", each.rows, each.turns) for each in found]

    def _kinds(self) -> Iterator[str]:
        """Give what answered: `replayed`, `live`, `simulated`, `scripted`."""
        rows, _, runs = self._before
        for run in self.runs[runs:]:
            if run.is_replayed:
                yield "replayed"
            elif run.is_live:
                yield "live"
            if run.is_simulated:
                yield "simulated"
        for row in self.asker.rows[rows:]:
            if row.outcome is Outcome.REPLAYED:
                yield "replayed"
            if row.is_simulated:
                yield "simulated"
            elif row.outcome is not Outcome.REPLAYED:
                yield "live" if self.seats.has_sender else "scripted"
