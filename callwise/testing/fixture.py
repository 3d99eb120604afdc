"""The `callwise` fixture: conversations and programs run under the budgeter, and checked.

    def test_reply(callwise: CallwiseFixture) -> None:
        run = callwise.replay("talk.jsonl", preset="balanced", cassette="talk.cassette.jsonl")
        callwise.check(run, "balanced")

    @pytest.mark.max_calls(turn=4)
    def test_agent(callwise: CallwiseFixture) -> None:
        graph = build_agent(callwise.model(client=ScriptedClient(script)))
        with callwise.turn("paris", 0):
            graph.invoke(question)
        callwise.check(None, "agent")

All work in asynchronous and in other tests.
"""

import unicodedata
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pytest

from callwise.budget import Limits
from callwise.calls import LLM, Outcome, Purpose
from callwise.calls.errors import ConfigError
from callwise.calls.provider_errors import redacted_line
from callwise.recordings import CassetteMode, read_conversations
from callwise.recordings.app_protocol import load_app
from callwise.recordings.cassette import Cassette, open_cassette
from callwise.recordings.conversation_files import first_turns
from callwise.recordings.normalising import Rule
from callwise.recordings.replay_run import RunRecorder, RunRequest, run_replay
from callwise.report import RunRecord, load_run
from callwise.report.run_record import CallLine, TurnLine
from callwise.testing.baseline_check import Checks
from callwise.testing.call_counts import CallCounts, LoggedCall, broken_limits, count_calls
from callwise.testing.gate import Baseline, GateComparison, parse_gates
from callwise.testing.gate.run_figures import baseline_of_rows, baseline_of_run
from callwise.testing.plugin_options import FixtureSetup
from callwise.testing.plugin_summary import CallsOfTest
from callwise.testing.turn_llm import TurnLLM

if TYPE_CHECKING:
    from callwise.calls.chat_model import BudgetedChatModel

__all__ = ["CallwiseFixture", "ReplayedRun"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReplayedRun(RunRecord):
    """A run that a test made. Its folder is below the test's own temporary folder.

    Args:
        label: the name of the run where a test has several.
        is_replayed: whether every call was played from a recording.
        is_live: whether a real endpoint was asked.
    """

    label: str = ""
    is_replayed: bool = False
    is_live: bool = False

    @property
    def calls(self) -> CallCounts:
        """Its calls, by node, role, purpose and turn."""
        return count_calls(self.rows, self.turns)


class _Source(NamedTuple):
    """One source of a test's calls: its own models, or a run."""

    label: str
    rows: Sequence[CallLine]
    turns: Sequence[TurnLine]


class CallwiseFixture:
    """Runs, counts and checks the calls of a test. One per test, module or session."""

    def __init__(self, setup: FixtureSetup) -> None:
        self._setup = setup
        self._llm = TurnLLM(setup.name, is_live=setup.is_live)
        self._checks = Checks(setup)
        self._runs: list[ReplayedRun] = []
        self._before = (0, 0, 0)
        """Calls, turns and runs of a fixture of a wider scope before this test."""
        self._cassette: Cassette | None = None
        self._recorder: RunRecorder | None = None

    @property
    def is_live(self) -> bool:
        """Whether real endpoints may be asked (`--callwise-live`)."""
        return self._setup.is_live

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
            max_turns: the first turns only, over all conversations; at least 1.
            max_concurrency: conversations run side by side; at least 1.
            normalise: what the recording's keys leave out; see `open_cassette`.

        Raises:
            ConfigError: when it would send something and may not, or a setting cannot work.
            FormatError: when a file cannot be read.
            CallError: what stopped the run, such as a call that the cassette lacks.
        """
        several = [conversations] if isinstance(conversations, str | Path) else conversations
        paths = [self._setup.find(each) for each in several]
        if preset and Path(preset).suffix in {".yaml", ".yml"}:
            preset = str(self._setup.find(preset))
        path = None if cassette is None else self._setup.find_cassette(cassette)
        loaded = load_app(app)
        settings = loaded.settings(preset, tuple(overrides))
        sends = path is None and not loaded.is_simulated(settings)
        if sends and not self.is_live:
            raise ConfigError(
                f"replaying with preset {preset!r} would send requests: its endpoints are not "
                "simulated, and there is no cassette. Give replay(cassette=...) a recording "
                "(`callwise replay ... --record FILE` makes one), or run pytest with "
                "--callwise-live"
            )
        if max_turns is not None and max_turns < 1:
            raise ConfigError(f"max_turns is at least 1, got {max_turns}")
        whole = list(read_conversations(paths).conversations)
        is_played = path is not None and not self._setup.is_recording
        request = RunRequest(
            app=loaded,
            app_target=app,
            settings=settings,
            conversations=whole if max_turns is None else list(first_turns(whole, max_turns)),
            digest_of=whole,
            folder=self._setup.folder / f"callwise-run-{len(self._runs) + 1}",
            cassette=path,
            mode=CassetteMode.STRICT if is_played else CassetteMode.NEW_EPISODES,
            max_concurrency=max_concurrency,
            normalise=tuple(normalise),
        )
        self._run(run_replay(request))
        record = load_run(request.folder)
        run = ReplayedRun(
            record.folder,
            record.manifest,
            record.turns,
            record.rows,
            label=" ".join([preset or str(getattr(settings, "preset", "")), *overrides]),
            is_replayed=path is not None,
            is_live=sends,
        )
        self._runs.append(run)
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
        is_recording = self._setup.is_recording
        mode = CassetteMode.NEW_EPISODES if is_recording else CassetteMode.STRICT
        path = self._setup.find_cassette(name)
        cassette = open_cassette(path, mode, redact=redacted_line, normalise=normalise)
        try:
            recorder = RunRecorder(cassette)
            self._llm.play(recorder, None if is_recording else cassette.answered_by())
        except BaseException:
            cassette.close()
            raise
        self._cassette, self._recorder = cassette, recorder

    def turn(
        self, conversation: str, turn: int | None = None, *, limits: Limits | None = None
    ) -> AbstractContextManager[None]:
        """Count what is asked in the block as one turn. For `with`, also in async tests.

        Args:
            turn: its number, at least 0; None goes on after the last one.
            limits: hard limits, such as `Limits(max_calls=4)`; a call beyond is refused.

        Raises:
            ConfigError: when the test ran this turn already.
        """
        return self._llm.turn(conversation, turn, limits=limits)

    def llm(self, role: str = "main", *, client: Any = None, model: str = "test") -> LLM:
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
        self._llm.serve(role, client, model=model)
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
        """Return a LangChain chat model whose calls the test counts; see `llm`.

        Args:
            purpose: of its calls, as in the ledger: `reason`, `judge`, `other`.
            arguments: further ones of `BudgetedChatModel`, such as `final_answer`.

        Raises:
            ConfigError: as `llm`, or for a purpose or an argument that does not exist.
        """
        from callwise.calls.chat_model import BudgetedChatModel  # noqa: PLC0415 - heavy

        if purpose not in set(Purpose):
            raise ConfigError(f"there is no purpose {purpose!r}; there are: {', '.join(Purpose)}")
        served = self._llm.serve(role, client, model=model)
        return BudgetedChatModel(llm=self._llm, role=served, purpose=Purpose(purpose), **arguments)

    @property
    def calls(self) -> CallCounts:
        """Calls that the test's own models asked so far; a run has its own `calls`."""
        return count_calls(self._own.rows, self._own.turns)

    def check(
        self, run: ReplayedRun | None, name: str, *gates: str, alpha: float | None = None
    ) -> GateComparison | None:
        """Compare a run, or the calls of the test's own models, with a committed baseline.

        Args:
            run: from `replay`; None is everything asked through `model` and `llm` so far.
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
        comparison, failure = self._checks.check(
            self._baseline(run, name),
            name,
            parse_gates(gates),
            is_live=self._llm_is_live if run is None else run.is_live,
            alpha=alpha,
        )
        if failure:
            pytest.fail(f"callwise.check({name!r}): {failure}", pytrace=False)
        return comparison

    def _baseline(self, run: ReplayedRun | None, name: str) -> Baseline:
        """Return the figures of a run, or of the test's own models, which are called `name`."""
        if run is not None:
            return baseline_of_run(run.folder)
        # Rounds are left out: a foreign program may run its nodes in threads, and what happens
        # to overlap then is no property of the program.
        return baseline_of_rows(
            self._own.rows,
            self._own.turns,
            app=name,
            prompts=self._llm.prompts or None,
            is_replayed=True if self._llm.is_recorded else None,
        )

    @property
    def _llm_is_live(self) -> bool:
        """Whether calls of the test's own models vary; those of a recording do not."""
        return self._llm.has_sender and not self._llm.is_recorded

    @property
    def _own(self) -> _Source:
        """The calls of the test's own models."""
        return _Source(
            "own models",
            [CallLine.model_validate(row.as_dict()) for row in self._llm.rows],
            [TurnLine(conversation_id=name, turn=turn) for name, turn in self._llm.turns],
        )

    def _sources(self) -> list[_Source]:
        """Return what this test asked, by source."""
        rows, turns, runs = self._before
        found = [
            _Source(f"run {number}, {run.label}", run.rows, run.turns)
            for number, run in enumerate(self._runs[runs:], start=runs + 1)
        ]
        own = self._own
        if own.rows[rows:] or own.turns[turns:]:
            found.insert(0, _Source(own.label, own.rows[rows:], own.turns[turns:]))
        # A test with one source needs no name for it.
        return [found[0]._replace(label="")] if len(found) == 1 else found

    def _kinds(self) -> Iterator[str]:
        """Yield what answered: `replayed`, `live`, `simulated`, `scripted`."""
        rows, _, runs = self._before
        for run in self._runs[runs:]:
            if run.is_replayed:
                yield "replayed"
            elif run.is_live:
                yield "live"
            if run.is_simulated:
                yield "simulated"
        for row in self._llm.rows[rows:]:
            if row.outcome is Outcome.REPLAYED:
                yield "replayed"
            if row.is_simulated:
                yield "simulated"
            elif row.outcome is not Outcome.REPLAYED:
                yield "live" if self._llm.has_sender else "scripted"

    def begin_test(self) -> None:
        """Begin a test: calls before it, in a wider scope, are not its own."""
        self._before = len(self._llm.rows), len(self._llm.turns), len(self._runs)
        self._checks.forget()

    def problems(self, allowed: Mapping[str, int] | None) -> list[str]:
        """Return what is wrong once the test's own code has passed, a text each.

        Args:
            allowed: calls by name, of `max_calls`; None without the mark.

        Raises:
            LedgerError: when the ledger does not add up.
        """
        self._llm.check()
        asked = [LoggedCall(line, each.label) for each in self._sources() for line in each.rows]
        missed = [call for call in asked if call.line.error.startswith("CassetteMiss")]
        if missed:
            # A program that catches every error continues with an answer that was never given.
            return [f"calls are not recorded: {len(missed)}, the first: {missed[0].line.error}"]
        return broken_limits(allowed, asked) if allowed else []

    def note(self, test: str, *, is_passed: bool) -> CallsOfTest:
        """Return a test's note for the summary; see `CallsOfTest`.

        Raises:
            ConfigError: when a baseline cannot be written.
        """
        counts = [count_calls(each.rows, each.turns) for each in self._sources()]
        return {
            "test": test,
            "asked": sum(each.total for each in counts),
            "turns": sum(len(each.by_turn) for each in counts),
            "most": max((most for each in counts for most in each.by_turn.values()), default=0),
            "kind": ", ".join(dict.fromkeys(self._kinds())),
            "updated": self._checks.write() if is_passed else [],
            "held": self._checks.excepted,
            "gains": self._checks.gains,
        }

    def close(self, *, has_failed: bool = False) -> None:
        """Close models, clients, loops and the cassette. Safe to call twice.

        Args:
            has_failed: whether the test failed: its interrupted calls are not recorded.

        Raises:
            RecordingStopped: when not everything could be recorded.
        """
        if self._llm.budgeters:
            self._run(self._llm.aclose())
        self._llm.owner.close()
        if self._recorder is not None and not has_failed:
            self._recorder.keep_all()
        if self._cassette is not None:
            self._cassette.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the fixture's loop: the test may have a loop running."""
        return self._llm.owner.wait(lambda: coroutine)
