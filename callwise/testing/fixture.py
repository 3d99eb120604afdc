"""The `callwise` fixture: conversations and programs run under the budgeter, and checked.

    def test_reply(callwise: Bench) -> None:
        run = callwise.replay("talk.jsonl", preset="balanced", cassette="talk.cassette.jsonl")
        callwise.check(run, "balanced")

    @pytest.mark.max_calls(turn=4)
    def test_agent(callwise: Bench) -> None:
        graph = build_agent(callwise.model(client=ScriptedClient(script)))
        with callwise.turn("paris", 0):
            graph.invoke(question)
        callwise.check(None, "agent")

All work in asynchronous and in other tests.
"""

import unicodedata
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from callwise.budget import Limits
from callwise.calls import LLM, Outcome, Purpose
from callwise.calls.errors import ConfigError
from callwise.calls.provider_errors import redacted_line
from callwise.recordings.cassette import Cassette, CassetteMode, open_cassette
from callwise.recordings.normalising import Rule
from callwise.recordings.replay_run import RunRecorder
from callwise.report.run_record import CallLine, TurnLine
from callwise.testing.baseline_check import (
    Checks,
    ReplayedRun,
    find_cassette,
    find_test_file,
    replay,
)
from callwise.testing.call_counts import (
    AskedTurn,
    CallCounts,
    LoggedCall,
    broken_limits,
    count_calls,
)
from callwise.testing.gate import Baseline, GateComparison, parse_gates
from callwise.testing.gate.run_figures import baseline_of_rows, baseline_of_run
from callwise.testing.plugin_options import FixtureLocation, PluginChoices
from callwise.testing.plugin_summary import CallNote
from callwise.testing.turn_llm import FixtureEndpoints, TurnLLM, key_values

if TYPE_CHECKING:
    from callwise.calls.chat_model import BudgetedChatModel

__all__ = ["CallwiseFixture", "FixtureCallLog"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Source:
    """One source of a test's calls: its own models, or a run."""

    label: str
    rows: Sequence[CallLine]
    turns: Sequence[TurnLine]


@dataclass(slots=True)
class FixtureCallLog:
    """A test's calls: of its own models, and of the runs that it replayed."""

    llm: TurnLLM
    endpoints: FixtureEndpoints
    runs: list[ReplayedRun] = field(default_factory=list)
    _before: tuple[int, int, int] = (0, 0, 0)
    """Calls, turns and runs of a fixture of a wider scope before this test."""

    def begin_test(self) -> None:
        """Begin a test: what was asked so far is not its own."""
        self._before = len(self.llm.rows), len(self.llm.turns), len(self.runs)

    def asked(self, *, in_test: bool = False) -> list[LoggedCall]:
        """Return every call; with `in_test` those of this test only."""
        return [
            LoggedCall(
                None if row.turn_key is None else AskedTurn(source.label, *row.turn_key), row
            )
            for source in self._sources(in_test=in_test)
            for row in source.rows
        ]

    def baseline(self, run: ReplayedRun | None, name: str) -> Baseline:
        """Return the figures of a run, or of the test's own models, which are called `name`.

        Raises:
            FormatError: when the run cannot be read.
        """
        if run is not None:
            return baseline_of_run(run.folder)
        # Rounds are left out: a foreign program may run its nodes in threads, and what happens
        # to overlap then is no property of the program.
        rows = [row.as_dict() for row in self.llm.rows]
        is_replayed = True if self.endpoints.is_recorded else None
        return baseline_of_rows(
            rows,
            self.own_turns(),
            app=name,
            prompts=self.llm.prompts or None,
            is_replayed=is_replayed,
        )

    def is_live(self, run: ReplayedRun | None) -> bool:
        """Return whether the calls of a run, or of the test's own models, vary by themselves."""
        return self.endpoints.is_live if run is None else run.is_live

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

    def own_rows(self) -> list[CallLine]:
        """Return the calls of the test's own models."""
        return [CallLine.model_validate(row.as_dict()) for row in self.llm.rows]

    def own_turns(self) -> list[TurnLine]:
        """Return the turns of the test's own models."""
        return [TurnLine(conversation_id=name, turn=turn) for name, turn in self.llm.turns]

    def _sources(self, *, in_test: bool) -> list[_Source]:
        rows, turns, runs = self._before if in_test else (0, 0, 0)
        found = [
            _Source(f"run {number}, {run.label}", run.rows, run.turns)
            for number, run in enumerate(self.runs[runs:], start=runs + 1)
        ]
        own = _Source("own models", self.own_rows()[rows:], self.own_turns()[turns:])
        if own.rows or own.turns:
            found.insert(0, own)
        if len(found) == 1:  # a test with one source needs no name for it
            return [_Source("", each.rows, each.turns) for each in found]
        return found

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
        for row in self.llm.rows[rows:]:
            if row.outcome is Outcome.REPLAYED:
                yield "replayed"
            if row.is_simulated:
                yield "simulated"
            elif row.outcome is not Outcome.REPLAYED:
                yield "live" if self.endpoints.has_sender else "scripted"


class CallwiseFixture:
    """Runs, counts and checks the calls of a test. One per test, module or session."""

    def __init__(self, place: FixtureLocation, choices: PluginChoices) -> None:
        self._place = place
        self._choices = choices
        self._llm = TurnLLM(place.name, secrets=key_values())
        self._endpoints = FixtureEndpoints(self._llm, is_live=choices.is_live)
        self._log = FixtureCallLog(self._llm, self._endpoints)
        self._checks = Checks(choices, place.file, place.today)
        self._cassette: Cassette | None = None
        self._recorder: RunRecorder | None = None

    @property
    def is_live(self) -> bool:
        """Whether real endpoints may be asked (`--callwise-live`)."""
        return self._choices.is_live

    def replay(
        self,
        conversations: str | Path | Sequence[str | Path],
        *,
        preset: str | None = None,
        overrides: Sequence[str] = (),
        cassette: str | Path | None = None,
        app: str = "graph.app:app",
        max_turns: int | None = None,
        max_concurrency: int = 1,
        normalise: Sequence[Rule] = (),
    ) -> ReplayedRun:
        """Run conversations through an app, under the budgeter, and return the run.

        With a cassette every call is played from it, and a call that it lacks is an error; with
        `--callwise-record` it is asked and recorded. Without one the app's endpoints are asked:
        simulated ones always, real ones only with `--callwise-live`. Files are searched next to
        the test, then in the root folder.

        Args:
            conversations: file or files, in any format that `callwise replay` reads.
            preset: name of a preset, or a YAML file of knobs; None is the app's default.
            overrides: single knobs as `knob=value`.
            cassette: the recording to play.
            app: the app's import string.
            max_turns: the first turns only, over all conversations; at least 1.
            max_concurrency: conversations in flight; at least 1.
            normalise: what the recording's keys leave out; see `open_cassette`.

        Raises:
            ConfigError: when it would send something and may not, or a setting cannot work.
            FormatError: when a file cannot be read.
            CallError: what stopped the run, such as a call that the cassette lacks.
        """
        several = [conversations] if isinstance(conversations, str | Path) else conversations
        is_file = preset is not None and Path(preset).suffix in {".yaml", ".yml"}
        run = replay(
            self._run,
            app_name=app,
            preset=str(self._find(preset)) if preset and is_file else preset,
            overrides=tuple(overrides),
            conversations=[self._find(each) for each in several],
            max_turns=max_turns,
            cassette=None if cassette is None else self._find_cassette(cassette),
            normalise=tuple(normalise),
            max_concurrency=max_concurrency,
            folder=self._place.folder / f"callwise-run-{len(self._log.runs) + 1}",
            choices=self._choices,
        )
        self._log.runs.append(run)
        return run

    def cassette(self, name: str | Path, *, normalise: Sequence[Rule] = ()) -> None:
        """Play every call of the test's models from a recording.

        A call that it lacks is an error. With `--callwise-record` it is asked instead, from
        real endpoints too, and recorded; the file is made when there is none. Equal calls of
        one node are played in the order in which they are asked. Endpoints are named as in the
        recording, so that a model's client is not needed to play it.

        Args:
            name: the file, next to the test or in the root folder.
            normalise: what the recording's keys leave out, such as ids and times; see
                `open_cassette`.

        Raises:
            ConfigError: when there is none to play, a model was made already, or the test has
                named one already.
            FormatError: when it is no cassette, or damaged.
        """
        if self._cassette is not None:
            raise ConfigError(f"the test plays {self._cassette.path} already; name one cassette")
        is_recording = self._choices.is_recording
        mode = CassetteMode.NEW_EPISODES if is_recording else CassetteMode.STRICT
        path = self._find_cassette(name)
        cassette = open_cassette(path, mode, redact=redacted_line, normalise=normalise)
        try:
            self._endpoints.record(None if is_recording else cassette.answered_by())
            self._recorder = RunRecorder(cassette)
            self._llm.play(self._recorder)
        except BaseException:
            cassette.close()
            raise
        self._cassette = cassette

    def turn(
        self, conversation: str, turn: int | None = None, *, limits: Limits | None = None
    ) -> AbstractContextManager[None]:
        """Count what is asked in the block as one turn. For `with`, also in async tests.

        Args:
            conversation: the conversation's id.
            turn: its number, at least 0; None goes on after the last one.
            limits: hard limits, such as `Limits(max_calls=4)`; a call beyond is refused.

        Raises:
            ConfigError: when the test ran this turn already.
        """
        return self._llm.turn(conversation, turn, limits=limits)

    def asker(self, role: str = "main", *, client: Any = None, model: str = "test") -> LLM:
        """Return the test's budgeter, for programs that ask it directly.

        Args:
            role: `main`, `judge`, `fast` or `embed`.
            client: what answers the role: a `Client`, an `Endpoint` (with prices), a
                LangChain chat model, or a function that makes one of them, which is called
                only where something may be asked. None keeps the present one; else it is the
                simulated model, and on a live run or in a recording what the environment
                names. It is closed after the test.
            model: the model's name there, where a client is given.

        Raises:
            ConfigError: when another client answers the role, or the client would send
                requests and may not.
        """
        self._endpoints.take(role, client, model=model)
        return self._llm

    def model(
        self,
        role: str = "main",
        *,
        client: Any = None,
        model: str = "test",
        purpose: str = "other",
        **arguments: Any,
    ) -> "BudgetedChatModel":
        """Return a LangChain chat model whose calls the test counts; see `asker`.

        Args:
            role: as in `asker`.
            client: as in `asker`.
            model: as in `asker`.
            purpose: of its calls, as in the ledger: `reason`, `judge`, `other`.
            arguments: further ones of `BudgetedChatModel`, such as `final_answer`.

        Raises:
            ConfigError: as `asker`, or for a purpose or an argument that does not exist.
        """
        from callwise.calls.chat_model import BudgetedChatModel  # noqa: PLC0415 - heavy

        if purpose not in set(Purpose):
            raise ConfigError(f"there is no purpose {purpose!r}; there are: {', '.join(Purpose)}")
        seat = self._endpoints.take(role, client, model=model)
        return BudgetedChatModel(llm=self._llm, role=seat, purpose=Purpose(purpose), **arguments)

    @property
    def calls(self) -> CallCounts:
        """What the test's own models asked so far; a run has its own `calls`."""
        return count_calls(self._log.own_rows(), self._log.own_turns())

    def check(
        self, run: ReplayedRun | None, name: str, *gates: str, alpha: float | None = None
    ) -> GateComparison | None:
        """Compare a run, or the calls of the test's own models, with a committed baseline.

        Args:
            run: from `replay`; None is everything asked through `model` and `asker` so far.
            name: the baseline's name: `baselines/<name>.json` next to the test's file.
            gates: what is gated besides calls: `rounds`, `tokens=5%`, `usd=10%`.
            alpha: false-alarm rate of the test of a live run.

        Returns:
            The comparison; None where the baseline is written instead.

        Raises:
            ConfigError: for an invalid name, or gates that do not exist.
            pytest.fail.Exception: when the check fails.
        """
        __tracebackhide__ = True
        name = unicodedata.normalize("NFC", name)  # one name, however its accents are typed
        drift, failure = self._checks.check(
            self._log.baseline(run, name),
            name,
            parse_gates(gates),
            is_live=self._log.is_live(run),
            alpha=alpha,
        )
        if failure:
            pytest.fail(f"callwise.check({name!r}): {failure}", pytrace=False)
        return drift

    def begin_test(self) -> None:
        """Begin a test: calls before it, in a wider scope, are not its own."""
        self._log.begin_test()
        self._checks.forget()

    def problems(self, allowed: Mapping[str, int] | None) -> list[str]:
        """Return what is wrong once the test's own code has passed, a text each.

        Args:
            allowed: calls by name, of `max_calls`; None without the mark.

        Raises:
            LedgerError: when the ledger does not add up.
        """
        self._llm.check()
        asked = self._log.asked(in_test=True)
        missed = [call for call in asked if call.line.error.startswith("CassetteMiss")]
        if missed:
            # A program that catches every error continues with an answer that was never given.
            return [f"calls are not recorded: {len(missed)}, the first: {missed[0].line.error}"]
        return broken_limits(allowed, asked) if allowed else []

    def write_baselines(self) -> list[tuple[str, str, str]]:
        """Write the baselines of a test that passed: file, change and digest of each.

        Raises:
            ConfigError: when one cannot be written.
        """
        return self._checks.write()

    def note(self, test: str, updated: Sequence[tuple[str, str, str]]) -> CallNote:
        """Return a test's note for the summary; `updated` is from `write_baselines`."""
        excepted, gains = self._checks.excepted, self._checks.gains
        return self._log.note(test, updated=updated, held=excepted, gains=gains)

    def close(self, *, has_failed: bool = False) -> None:
        """Close models, clients, loops and the cassette. Safe to call twice.

        Args:
            has_failed: whether the test failed: its interrupted calls are not recorded.

        Raises:
            RecordingStopped: when not everything could be recorded.
        """
        if self._llm.is_used:
            self._run(self._llm.aclose())
        self._llm.owner.close()
        if self._recorder is not None and not has_failed:
            self._recorder.keep_all()
        if self._cassette is not None:
            self._cassette.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the fixture's loop: the test may have a loop running."""
        return self._llm.owner.wait(lambda: coroutine)

    def _find(self, given: str | Path) -> Path:
        return find_test_file(given, self._place.file, self._choices.root)

    def _find_cassette(self, given: str | Path) -> Path:
        root, is_new = self._choices.root, self._choices.is_recording
        return find_cassette(given, self._place, root=root, is_recording=is_new)
