"""The `turnwise` fixture: runs a conversation or a program under the budgeter, and checks it.

    def test_reply(turnwise: Bench) -> None:
        run = turnwise.replay("talk.jsonl", preset="balanced", cassette="talk.cassette.jsonl")
        turnwise.check(run, "balanced")

    @pytest.mark.max_calls(turn=4)
    def test_agent(turnwise: Bench) -> None:
        graph = build_agent(turnwise.model(client=ScriptedClient(script)))
        with turnwise.turn("paris", 0):
            graph.invoke(question)
        turnwise.check(None, "agent")

    async def test_recorded(turnwise: Bench) -> None:
        turnwise.cassette("agent.cassette.jsonl")
        with turnwise.turn("paris"):
            await build_agent(turnwise.model()).ainvoke(question)
        turnwise.check(None, "agent")

All work in asynchronous tests and in others.
"""

import unicodedata
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from turnwise.budget import Limits
from turnwise.calls import Asker, Purpose
from turnwise.calls.errors import ConfigError
from turnwise.replay.cassette import Cassette
from turnwise.replay.normalising import Rule
from turnwise.replay.run_recorder import RunRecorder
from turnwise.testing.baseline_check import Checks
from turnwise.testing.call_counts import CallCounts, broken_limits
from turnwise.testing.call_log import FixtureCallLog
from turnwise.testing.fixture_endpoints import FixtureEndpoints, key_values
from turnwise.testing.gate import GateComparison, parse_gates
from turnwise.testing.plugin_options import FixtureLocation, PluginChoices
from turnwise.testing.plugin_summary import CallNote
from turnwise.testing.replayed_run import (
    ReplayedRun,
    ReplayOrder,
    find_beside,
    open_test_cassette,
    replay,
)
from turnwise.testing.turn_llm import TurnLLM

if TYPE_CHECKING:
    from turnwise.calls.chat_model import BudgetedChatModel

__all__ = ["Bench"]

T = TypeVar("T")


class Bench:
    """What a test asks, counts and checks. One for each test.

    Args:
        place: where the test stands.
        choices: what pytest was asked to do.
    """

    def __init__(self, place: FixtureLocation, choices: PluginChoices) -> None:
        self._place = place
        self._choices = choices
        self._asker = TurnLLM(place.name, secrets=key_values())
        self._seats = FixtureEndpoints(self._asker, is_live=choices.is_live)
        self._books = FixtureCallLog(self._asker, self._seats)
        self._checks = Checks(choices, place.file, place.today)
        self._cassette: Cassette | None = None
        self._recorder: RunRecorder | None = None

    # Running.

    @property
    def is_live(self) -> bool:
        """Whether real endpoints may be asked (`--turnwise-live`)."""
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

        With a cassette every call is played from it, and one that it lacks is an error; with
        `--turnwise-record` it is asked and recorded.
        Without one the app's endpoints are asked: simulated ones always, real ones only
        with `--turnwise-live`. Files are looked for beside the test, then in the root folder.

        Args:
            conversations: file or files, in any format that `turnwise replay` reads.
            preset: name of a preset, or a YAML file of knobs; None is the app's default.
            overrides: single knobs as `knob=value`.
            cassette: the recording to play.
            app: the app's import string.
            max_turns: the first turns only, over all conversations; at least 1.
            max_concurrency: users side by side; at least 1.
            normalise: what the recording's keys leave out; see `open_cassette`.

        Raises:
            ConfigError: when it would send something and may not, or a setting cannot work.
            FormatError: when a file cannot be read.
            CallError: what stopped the run, such as a call that the cassette lacks.
        """
        several = [conversations] if isinstance(conversations, str | Path) else conversations
        is_file = preset is not None and Path(preset).suffix in {".yaml", ".yml"}
        order = ReplayOrder(
            conversations=[self._find(each) for each in several],
            preset=str(self._find(preset)) if preset and is_file else preset,
            overrides=tuple(overrides),
            cassette=None if cassette is None else self._find_cassette(cassette),
            app=app,
            max_turns=max_turns,
            max_concurrency=max_concurrency,
            is_live=self.is_live,
            is_recording=self._choices.is_recording,
            normalise=tuple(normalise),
            folder=self._place.folder / f"turnwise-run-{len(self._books.runs) + 1}",
        )
        run = replay(order, self._run)
        self._books.runs.append(run)
        return run

    def cassette(self, name: str | Path, *, normalise: Sequence[Rule] = ()) -> None:
        """Play every call of the test's models from a recording.

        A call that it lacks is an error. With `--turnwise-record` it is asked instead, from
        real endpoints too, and recorded; the file is made when there is none. Equal calls of
        one node are played in the order in which they are asked. Endpoints are named as in the
        recording, so that a model's client is not needed to play it.

        Args:
            name: the file, beside the test or from the root folder.
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
        cassette = open_test_cassette(
            name,
            self._place,
            root=self._choices.root,
            is_recording=is_recording,
            normalise=normalise,
        )
        try:
            self._seats.record(None if is_recording else cassette.answered_by())
            self._recorder = RunRecorder(cassette)
            self._asker.play(self._recorder)
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
        return self._asker.turn(conversation, turn, limits=limits)

    def asker(self, role: str = "main", *, client: Any = None, model: str = "test") -> Asker:
        """Return the test's budgeter, for programs that ask it directly.

        Args:
            role: `main`, `judge`, `fast` or `embed`.
            client: who answers the role: a `Client`, an `Endpoint` (with prices), a
                LangChain chat model, or a function that makes one of them, which is called
                only where something may be asked. None keeps who answers it already; else it
                is the simulated model, and on a live run or in a recording what the
                environment names. It is closed after the test.
            model: the model's name there, where a client is given.

        Raises:
            ConfigError: when somebody else answers the role, or the client would send
                requests and may not.
        """
        self._seats.take(role, client, model=model)
        return self._asker

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
            role: `main`, `judge`, `fast` or `embed`.
            client: who answers the role.
            model: the model's name there.
            purpose: what its calls are for, as in the ledger: `reason`, `judge`, `other`.
            arguments: further ones of `BudgetedChatModel`, such as `final_answer`.

        Raises:
            ConfigError: as `asker`, or for a purpose or an argument that does not exist.
        """
        from turnwise.calls.chat_model import BudgetedChatModel  # noqa: PLC0415 - heavy

        if purpose not in set(Purpose):
            raise ConfigError(f"there is no purpose {purpose!r}; there are: {', '.join(Purpose)}")
        seat = self._seats.take(role, client, model=model)
        return BudgetedChatModel(
            asker=self._asker, role=seat, purpose=Purpose(purpose), **arguments
        )

    @property
    def calls(self) -> CallCounts:
        """What the test's own models asked so far; a run has its own `calls`."""
        return self._books.own()

    # Checking.

    def check(
        self, run: ReplayedRun | None, name: str, *gates: str, alpha: float | None = None
    ) -> GateComparison | None:
        """Hold a run, or what the test's own models asked, against a committed baseline.

        Args:
            run: from `replay`; None is everything asked through `model` and `asker` so far.
            name: the baseline's name: `baselines/<name>.json` beside the test's file.
            gates: what is held besides calls: `rounds`, `tokens=5%`, `usd=10%`.
            alpha: false-alarm rate of the statistical gate, which live runs go through.

        Returns:
            The comparison; None where the baseline is written instead.

        Raises:
            ConfigError: for a name that is no name, or gates that do not exist.
            pytest.fail.Exception: when the check fails.
        """
        __tracebackhide__ = True
        name = unicodedata.normalize("NFC", name)  # one name, however its accents are typed
        drift, failure = self._checks.check(
            self._books.baseline(run, name),
            name,
            parse_gates(gates),
            is_live=self._books.is_live(run),
            alpha=alpha,
        )
        if failure:
            pytest.fail(f"turnwise.check({name!r}): {failure}", pytrace=False)
        return drift

    # For the plugin.

    def begin_test(self) -> None:
        """Begin a test: what was asked before it, in a wider scope, is not its own."""
        self._books.begin_test()
        self._checks.forget()

    def problems(self, allowed: Mapping[str, int] | None) -> list[str]:
        """Return what is wrong once the test's own code has passed, a text each.

        Args:
            allowed: what `max_calls` allows; None without the mark.

        Raises:
            LedgerError: when the books do not add up.
        """
        self._asker.check()
        asked = self._books.asked(in_test=True)
        missed = [call for call in asked if call.line.error.startswith("CassetteMiss")]
        if missed:
            # A program that catches every error goes on with something that was never said.
            return [f"calls are not recorded: {len(missed)}, the first: {missed[0].line.error}"]
        return broken_limits(allowed, asked) if allowed else []

    def write_baselines(self) -> list[tuple[str, str, str]]:
        """Write what waits for the test to pass: file, change and digest of each.

        Raises:
            ConfigError: when one cannot be written.
        """
        return self._checks.write()

    def note(self, test: str, updated: Sequence[tuple[str, str, str]]) -> CallNote:
        """Return a test's note for the summary.

        Args:
            test: its node id.
            updated: from `write_baselines`.
        """
        excepted, gains = self._checks.excepted, self._checks.gains
        return self._books.note(test, updated=updated, held=excepted, gains=gains)

    def close(self, *, has_failed: bool = False) -> None:
        """Close models, clients, loops and the cassette. Safe to call twice.

        Args:
            has_failed: whether the test failed: calls that broke off with it are not recorded.

        Raises:
            RecordingStopped: when not everything could be recorded.
        """
        if self._asker.is_used:
            self._run(self._asker.aclose())
        self._asker.owner.close()
        if self._recorder is not None and not has_failed:
            self._recorder.keep_all()
        if self._cassette is not None:
            self._cassette.close()

    # Inside.

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the test's own loop: the test may have a loop running."""
        return self._asker.owner.wait(lambda: coroutine)

    def _find(self, given: str | Path) -> Path:
        return find_beside(given, self._place.file, self._choices.root)

    def _find_cassette(self, given: str | Path) -> Path:
        try:
            return self._find(given)
        except ConfigError as error:
            if self._choices.is_recording:
                return self._place.file.parent / given
            raise ConfigError(
                f"{error}. Record it: pytest {self._place.test} --turnwise-record, or turnwise "
                f"replay CONVERSATION --preset NAME --record {given}"
            ) from None
