"""Conversations replayed inside a test."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from turnwise.calls.errors import ConfigError
from turnwise.calls.failures import scrub
from turnwise.replay import Cassette, CassetteMode, open_cassette, read_conversations
from turnwise.replay.app import App, load_app
from turnwise.replay.normalising import Rule
from turnwise.replay.reading import first_turns
from turnwise.replay.run import RunRequest, run_replay
from turnwise.report import load_run
from turnwise.report.run_record import CallLine, TurnLine
from turnwise.testing.call_counts import CallCounts, count_calls
from turnwise.testing.plugin_options import FixtureLocation

__all__ = ["ReplayOrder", "ReplayedRun", "find_beside", "open_test_cassette", "replay"]

T = TypeVar("T")

Runner = Callable[[Coroutine[Any, Any, T]], T]
"""Runs a coroutine to its end and returns its result."""


@dataclass(frozen=True, slots=True)
class ReplayedRun:
    """A run that a test made.

    Args:
        folder: its run folder, under the test's own temporary folder.
        manifest: of which app, knobs and conversations it is.
        turns: its turns, in the order of the conversations.
        rows: its calls, likewise.
        label: what to call it where a test has several.
        is_replayed: whether every call was played from a recording.
        is_live: whether a real endpoint was asked.
        is_simulated: whether a simulated model gave the answers, now or when recorded.
    """

    folder: Path
    manifest: Mapping[str, Any] = field(repr=False)
    turns: tuple[TurnLine, ...] = field(repr=False)
    rows: tuple[CallLine, ...] = field(repr=False)
    label: str
    is_replayed: bool
    is_live: bool
    is_simulated: bool

    @property
    def calls(self) -> CallCounts:
        """Its calls, by node, role, purpose and turn."""
        return count_calls(self.rows, self.turns)


@dataclass(frozen=True, slots=True)
class ReplayOrder:
    """What to replay.

    Args:
        conversations: the files.
        preset: name of a preset, or a YAML file; None is the app's default.
        overrides: knobs as `knob=value`.
        cassette: play calls from this recording, and send none; None asks the endpoints.
        app: the app's import string.
        max_turns: the first turns only, at least 1; None is all.
        max_concurrency: users side by side; at least 1.
        is_live: whether real endpoints may be asked where there is no cassette.
        is_recording: whether what the cassette lacks is asked and recorded.
        folder: where the run goes.
        normalise: what the recording's keys leave out; see `open_cassette`.
    """

    conversations: Sequence[Path]
    preset: str | None
    overrides: Sequence[str]
    cassette: Path | None
    app: str
    max_turns: int | None
    max_concurrency: int
    is_live: bool
    is_recording: bool
    folder: Path
    normalise: Sequence[Rule] = ()


def find_beside(given: str | Path, test_file: Path, root: Path) -> Path:
    """Return a file that a test names: beside the test first, then from the root folder.

    Args:
        given: as the test wrote it; an absolute path stays as it is.
        test_file: the test's own file.
        root: pytest's root folder.

    Raises:
        ConfigError: when it stands in neither.
    """
    candidates = [test_file.parent / given, root / given]
    for path in candidates:
        if path.exists():
            return path
    looked = " and ".join(dict.fromkeys(str(path) for path in candidates))
    raise ConfigError(f"there is no {given}; looked for {looked}")


def open_test_cassette(
    given: str | Path,
    place: FixtureLocation,
    *,
    root: Path,
    is_recording: bool,
    normalise: Sequence[Rule] = (),
) -> Cassette:
    """Return the cassette that a test names: to be played, or to be recorded on.

    Args:
        given: as the test wrote it.
        place: where the test is. A new cassette goes beside its file.
        root: pytest's root folder.
        is_recording: whether what it lacks is recorded.
        normalise: what its keys leave out.

    Raises:
        ConfigError: when there is none to play; says how to record it.
        FormatError: when it is no cassette, or damaged.
    """
    try:
        path = find_beside(given, place.file, root)
    except ConfigError as error:
        if not is_recording:
            raise ConfigError(
                f"{error}. Record it: pytest {place.test} --turnwise-record, with the endpoint in "
                "TURNWISE_BASE_URL and TURNWISE_MODEL, or as the model's client"
            ) from None
        path = place.file.parent / given
        path.parent.mkdir(parents=True, exist_ok=True)
    mode = CassetteMode.NEW_EPISODES if is_recording else CassetteMode.STRICT
    return open_cassette(path, mode, scrub=scrub, normalise=normalise)


def replay(order: ReplayOrder, run: Runner[Any]) -> ReplayedRun:
    """Run conversations under the budgeter, and return what they asked.

    Raises:
        ConfigError: when it would send something and may not, or a setting cannot work.
        FormatError: when a file cannot be read.
        CallError: what stopped the run, such as a call that the cassette lacks.
    """
    app = load_app(order.app)
    settings = app.settings(order.preset, order.overrides)
    is_simulated = app.is_simulated(settings)
    _refuse_sending(order, is_simulated=is_simulated)
    run(run_replay(_request(order, app, settings)))
    record = load_run(order.folder)
    return ReplayedRun(
        folder=record.folder,
        manifest=record.manifest,
        turns=record.turns,
        rows=record.rows,
        label=" ".join([order.preset or str(getattr(settings, "preset", "")), *order.overrides]),
        is_replayed=order.cassette is not None,
        is_live=order.cassette is None and not is_simulated,
        is_simulated=record.is_simulated,
    )


def _refuse_sending(order: ReplayOrder, *, is_simulated: bool) -> None:
    """Refuse a run whose calls would leave the machine without anyone having asked for it.

    Raises:
        ConfigError: when they would.
    """
    if order.cassette is not None or is_simulated or order.is_live:
        return
    raise ConfigError(
        f"replaying with preset {order.preset!r} would send requests: its endpoints are not "
        "simulated, and there is no cassette. Give replay(cassette=...) a recording (`turnwise "
        "replay ... --record FILE` makes one), or run pytest with --turnwise-live"
    )


def _request(order: ReplayOrder, app: App, settings: BaseModel) -> RunRequest:
    whole = list(read_conversations(order.conversations).conversations)
    some = whole
    if order.max_turns is not None:
        if order.max_turns < 1:
            raise ConfigError(f"max_turns is at least 1, got {order.max_turns}")
        some = list(first_turns(whole, order.max_turns))
    is_played = order.cassette is not None and not order.is_recording
    return RunRequest(
        app=app,
        app_target=order.app,
        settings=settings,
        conversations=some,
        digest_of=whole,
        folder=order.folder,
        cassette=order.cassette,
        mode=CassetteMode.STRICT if is_played else CassetteMode.NEW_EPISODES,
        max_concurrency=order.max_concurrency,
        normalise=order.normalise,
    )
