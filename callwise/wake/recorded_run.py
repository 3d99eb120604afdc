"""Runs of awake agents with all that they need: plain, recorded, or replayed from a recording."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

from callwise.budget.budgeter import Budgeter
from callwise.budget.clock import Clock, LoopClock
from callwise.budget.layers.cache import MemoryCache
from callwise.budget.recorder import Recorder
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls.client import Endpoint
from callwise.calls.errors import CassetteMiss, ConfigError, FormatError
from callwise.recordings.cassette import Cassette, CassetteStatistics, open_cassette
from callwise.safe_text import shown
from callwise.wake.agent_memory import AgentMemory
from callwise.wake.memory_recording import PlayedMemory
from callwise.wake.moments import APART_SECONDS, Moment, replayed_moments, stay_for_ever
from callwise.wake.store import WakeStore
from callwise.wake.strict_replay import StrictRecorder
from callwise.wake.wake_recording import (
    RecordedWakes,
    WakeFiles,
    WakeRecording,
    hold_new_folder,
    manifest_of,
)
from callwise.wake.wake_run import WakeListener, run_wakes
from callwise.wake.wake_settings import WakeSettings

__all__ = ["replay_wakes", "run_settings"]

Observer = Callable[[Budgeter], AbstractContextManager[None]]
"""Observes the calls of a budgeter until its context ends, before the budgeter is closed."""


def not_observed(_: Budgeter) -> AbstractContextManager[None]:
    """Observe nothing."""
    return nullcontext()


_AFTER_LAST_SECONDS = 1.0
"""Virtual time after the last event of a stopped run in which its last answers are read."""

_NOT_REACHED = (
    "the replay did not come to the recorded event {!r}: the run was made with other agents, "
    "messages or knobs. Replay it with those, or record it again"
)


async def run_settings(
    settings: WakeSettings,
    store: WakeStore,
    endpoints: Mapping[str, Endpoint],
    listener: WakeListener,
    *,
    clock: Clock,
    wall: Callable[[], float],
    count: int | None = None,
    is_first_now: bool = False,
    out: Path | None = None,
    keeps_store: bool = True,
    notify: Callable[[str], None] | None = None,
    secrets: Collection[str] = (),
    memory: AgentMemory | None = None,
    observe: Observer = not_observed,
) -> int:
    """Wake the agents of settings, and record the run where that is asked for; see `run_wakes`.

    Args:
        endpoints: those of `settings.served_by`. Owned.
        out: new or empty folder to record in; None records nothing. See `wake_recording`.
        keeps_store: whether the store may have something in it at the start.
        notify: called with what a person should know while a call waits.
        secrets: values of keys, kept out of every error.
        memory: see `run_wakes`.
        observe: observes the calls of the run.

    Returns:
        The number of wakes.

    Raises:
        ConfigError: when the folder has something in it.
        RecordingStopped: when not everything could be recorded.
    """
    recorder: Recorder | None = None
    moment: Moment | None = None
    with ExitStack() as stack:
        if out is not None:
            manifest = manifest_of(settings, endpoints, hours=count, is_first_now=is_first_now)
            kept = store if keeps_store else None
            recording = stack.enter_context(
                WakeRecording(out, manifest, kept, wall=wall, memory=memory)
            )
            listener = stack.enter_context(WakeFiles(out, listener))
            recorder, moment, memory = recording.cassette, recording.moment, recording.memory
        return await _run(
            settings,
            store,
            endpoints,
            listener,
            clock=clock,
            wall=wall,
            count=count,
            is_first_now=is_first_now,
            recorder=recorder,
            moment=moment,
            notify=notify,
            secrets=secrets,
            memory=memory,
            observe=observe,
        )


async def _run(
    settings: WakeSettings,
    store: WakeStore,
    endpoints: Mapping[str, Endpoint],
    listener: WakeListener,
    *,
    clock: Clock,
    wall: Callable[[], float],
    count: int | None,
    is_first_now: bool,
    recorder: Recorder | None,
    moment: Moment | None,
    notify: Callable[[str], None] | None = None,
    secrets: Collection[str] = (),
    memory: AgentMemory | None = None,
    observe: Observer = not_observed,
) -> int:
    budgeter = Budgeter(
        endpoints,
        clock=clock,
        cache=MemoryCache(clock=clock) if settings.wake.retrieval == "both" else None,
        recorder=recorder,
        retry=settings.retry,
        load=settings.wake.load(settings.load),
        seed=settings.wake.seed,
        notify=notify,
        secrets=secrets,
    )
    try:
        with observe(budgeter):
            woken = await run_wakes(
                settings,
                store,
                budgeter,
                listener,
                clock=clock,
                wall=wall,
                count=count,
                is_first_now=is_first_now,
                moment=moment,
                memory=memory,
            )
        budgeter.ledger.check()
    finally:
        await budgeter.aclose()
    return woken


def replay_wakes(
    settings: WakeSettings,
    recorded: RecordedWakes,
    listener: WakeListener,
    *,
    hours: int | None = None,
    out: Path | None = None,
    observe: Observer = not_observed,
) -> CassetteStatistics:
    """Replay a recording in virtual time: the same wakes and messages, and nothing is sent.

    What a stopped run had begun and not ended is replayed as far as it had come, and has no report.

    Args:
        settings: those of the recording.
        hours: wakes after which it ends; None for all that had ended.
        out: new or empty folder for reports and chat; None writes nothing.
        observe: observes the calls of the replay.

    Returns:
        The numbers of calls that were played and that are left.

    Raises:
        CassetteMiss: at the first call, hour or message that is not recorded.
        FormatError: when the recorded store is none.
        ConfigError: when the recording has no finished hour, or fewer than `hours`, or other
            messages of people, or no answers of a memory that the settings name.
    """
    count = recorded.hours if hours is None else hours
    if not 1 <= count <= recorded.hours:
        raise ConfigError(
            f"{recorded.cassette.parent} has {recorded.hours} finished hours"
            + (f", not {hours}" if recorded.hours and hours else ", so there is nothing to replay")
        )
    if recorded.recalled is None and settings.memory.backend != "sqlite":
        raise ConfigError(
            f"{recorded.cassette.parent} was recorded with the notes in the store's file. Replay "
            "it with memory.backend=sqlite"
        )
    if hours is not None:
        recorded = recorded.before_hour(hours)
    said = recorded.messages(settings.messages, room=settings.wake.room)
    given = settings.model_copy(update={"messages": said})
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="callwise-"))
        if out is not None:
            stack.enter_context(hold_new_folder(out))
            listener = stack.enter_context(WakeFiles(out, listener))
        path: Path | str = ":memory:"
        if recorded.store is not None:
            path = Path(name) / "store.sqlite"
            shutil.copyfile(recorded.store, path)
        try:
            store = stack.enter_context(WakeStore(path))
        except FormatError as error:
            raise FormatError(recorded.store, error.line, error.problem) from None
        cassette = stack.enter_context(open_cassette(recorded.cassette))
        run_in_virtual_time(
            _replay(given, store, listener, recorded=recorded, cassette=cassette, observe=observe)
        )
        return cassette.statistics()


async def _replay(
    settings: WakeSettings,
    store: WakeStore,
    listener: WakeListener,
    *,
    recorded: RecordedWakes,
    cassette: Cassette,
    observe: Observer,
) -> None:
    clock = LoopClock()
    start = recorded.start - clock.now()
    misses: list[CassetteMiss] = []
    passed: set[str] = set()
    unended, room = recorded.unended, settings.wake.room
    scopes = [f"say:{room}:{key[1:]}" if key[0] == "@" else f"wake:{room}:{key}" for key in unended]

    def wall() -> float:
        return start + clock.now()

    def stop(miss: CassetteMiss) -> None:
        misses.append(miss)
        running.cancel()

    async def end() -> None:
        misses.extend(await _end_of_stopped(recorded, passed, store, clock, wall))
        running.cancel()

    async def miss_recall(miss: CassetteMiss) -> None:
        if unended:
            await stay_for_ever()
        stop(miss)

    memory = None if recorded.recalled is None else PlayedMemory(recorded.recalled, miss_recall)
    running = asyncio.ensure_future(
        _run(
            settings,
            store,
            recorded.endpoints(),
            listener,
            clock=clock,
            wall=wall,
            count=recorded.begun_hours,
            is_first_now=recorded.manifest.is_first_now,
            recorder=StrictRecorder(cassette, stop, unended=scopes),
            moment=replayed_moments(
                recorded.times, clock=clock, on_miss=stop, unended=unended, on_passed=passed.add
            ),
            memory=memory,
            observe=observe,
        )
    )
    ending = asyncio.ensure_future(end() if unended else stay_for_ever())
    try:
        await running
    except asyncio.CancelledError:
        if not misses and not ending.done():
            raise
    finally:
        ending.cancel()
    if misses:
        raise misses[0] from None


async def _end_of_stopped(
    recorded: RecordedWakes,
    passed: Collection[str],
    store: WakeStore,
    clock: Clock,
    wall: Callable[[], float],
) -> list[CassetteMiss]:
    """Return after the last event of a stopped run, when all that was published has come.

    Returns:
        The miss of the first event that did not come; empty where all did.
    """
    last = max(recorded.times.values()) - wall() + len(recorded.times) * APART_SECONDS
    await clock.sleep(last + _AFTER_LAST_SECONDS)
    if missing := [name for name in recorded.times if name not in passed]:
        return [CassetteMiss(_NOT_REACHED.format(shown(missing[0])[:120]))]
    while (due_at := store.rooms.next_due()) is not None:
        await clock.sleep(max(due_at - wall(), 0.0) + _AFTER_LAST_SECONDS)
    return []
