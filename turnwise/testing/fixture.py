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

Both work in asynchronous tests too.
"""

from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from turnwise.budget import Limits
from turnwise.calls import Asker, Purpose
from turnwise.calls.errors import ConfigError
from turnwise.testing.gate import Drift, LiveDrift, parse_gates
from turnwise.testing.pytesting.asked import CallCounts
from turnwise.testing.pytesting.asking import TurnAsker
from turnwise.testing.pytesting.books import Books
from turnwise.testing.pytesting.checking import Checks
from turnwise.testing.pytesting.limits import broken_limits
from turnwise.testing.pytesting.options import Choices
from turnwise.testing.pytesting.place import BenchPlace
from turnwise.testing.pytesting.replaying import ReplayedRun, ReplayOrder, find_beside, replay
from turnwise.testing.pytesting.seating import Seats, key_values
from turnwise.testing.pytesting.summary import CallNote

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

    def __init__(self, place: BenchPlace, choices: Choices) -> None:
        self._place = place
        self._choices = choices
        self._asker = TurnAsker(place.name, secrets=key_values())
        self._seats = Seats(self._asker, is_live=choices.is_live)
        self._books = Books(self._asker, self._seats)
        self._checks = Checks(choices, place.file, place.today)

    # Running.

    @property
    def is_live(self) -> bool:
        """Whether real endpoints may be asked (`--turnwise-live`)."""
        return self._choices.is_live

    def replay(
        self,
        conversations: str | Path | Sequence[str | Path],
        *,
        preset: str = "classic",
        overrides: Sequence[str] = (),
        cassette: str | Path | None = None,
        app: str = "graph.app:app",
        limit_turns: int | None = None,
        max_concurrency: int = 1,
    ) -> ReplayedRun:
        """Run conversations through an app, under the budgeter, and return the run.

        With a cassette every call is played from it, and one that it lacks is an error.
        Without one the app's endpoints are asked: simulated ones always, real ones only
        with `--turnwise-live`. Files are looked for beside the test, then in the root folder.

        Args:
            conversations: file or files, in any format that `turnwise replay` reads.
            preset: name of a preset, or a YAML file of knobs.
            overrides: single knobs as `knob=value`.
            cassette: the recording to play.
            app: the app's import string.
            limit_turns: the first turns only, over all conversations; at least 1.
            max_concurrency: users side by side; at least 1.

        Raises:
            ConfigError: when it would send something and may not, or a setting cannot work.
            FormatError: when a file cannot be read.
            CallError: what stopped the run, such as a call that the cassette lacks.
        """
        several = [conversations] if isinstance(conversations, str | Path) else conversations
        is_file = Path(preset).suffix in {".yaml", ".yml"}
        order = ReplayOrder(
            conversations=[self._find(each) for each in several],
            preset=str(self._find(preset)) if is_file else preset,
            overrides=tuple(overrides),
            cassette=None if cassette is None else self._find_cassette(cassette),
            app=app,
            limit_turns=limit_turns,
            max_concurrency=max_concurrency,
            is_live=self.is_live,
            folder=self._place.folder / f"turnwise-run-{len(self._books.runs) + 1}",
        )
        run = replay(order, self._run)
        self._books.runs.append(run)
        return run

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
            client: who answers the role: a `Client`, an `Endpoint` (with prices), or a
                LangChain chat model. None keeps who answers it already; else it is the
                simulated model, and on a live run what the environment names. It is
                closed after the test.
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
    ) -> "BudgetedChatModel":
        """Return a LangChain chat model whose calls the test counts; see `asker`.

        Args:
            role: `main`, `judge`, `fast` or `embed`.
            client: who answers the role.
            model: the model's name there.
            purpose: what its calls are for, as in the ledger: `reason`, `judge`, `other`.

        Raises:
            ConfigError: as `asker`, or for a purpose that does not exist.
        """
        from turnwise.calls.chat_model import BudgetedChatModel  # noqa: PLC0415 - heavy

        if purpose not in set(Purpose):
            raise ConfigError(f"there is no purpose {purpose!r}; there are: {', '.join(Purpose)}")
        seat = self._seats.take(role, client, model=model)
        return BudgetedChatModel(asker=self._asker, role=seat, purpose=Purpose(purpose))

    @property
    def calls(self) -> CallCounts:
        """What the test's own models asked so far; a run has its own `calls`."""
        return self._books.own()

    # Checking.

    def check(
        self, run: ReplayedRun | None, name: str, *gates: str, alpha: float | None = None
    ) -> Drift | LiveDrift | None:
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

    def problems(self, allowed: Mapping[str, int] | None) -> list[str]:
        """Return what is wrong once the test's own code has passed, a text each.

        Args:
            allowed: what `max_calls` allows; None without the mark.

        Raises:
            LedgerError: when the books do not add up.
        """
        self._asker.check()
        return broken_limits(allowed, self._books.asked()) if allowed else []

    def write_baselines(self) -> list[tuple[str, str, str]]:
        """Write what waits for the test to pass: file, change and digest of each.

        Raises:
            ConfigError: when one cannot be written.
        """
        return self._checks.write()

    def note(self, updated: Sequence[tuple[str, str, str]]) -> CallNote:
        """Return the test's note for the summary.

        Args:
            updated: from `write_baselines`.
        """
        held, gains = self._checks.held, self._checks.gains
        return self._books.note(self._place.test, updated=updated, held=held, gains=gains)

    def close(self) -> None:
        """Close models, clients and loops. Safe to call twice."""
        if self._asker.is_used:
            self._run(self._asker.aclose())
        self._asker.owner.close()

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
            raise ConfigError(
                f"{error}. Record it: turnwise replay CONVERSATION --preset NAME --record {given}"
            ) from None
