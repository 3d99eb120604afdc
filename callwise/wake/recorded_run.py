"""Runs of awake agents with all that they need: plain, recorded, or replayed from a recording."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from pathlib import Path

from callwise.budget.budgeter import Budgeter
from callwise.budget.clock import Clock, LoopClock
from callwise.budget.layers.cache import MemoryCache
from callwise.budget.recorder import Recorder
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls.client import Endpoint
from callwise.calls.errors import CassetteMiss, ConfigError
from callwise.recordings.cassette import Cassette, CassetteStatistics, open_cassette
from callwise.wake.agent_memory import AgentMemory
from callwise.wake.memory_recording import PlayedMemory
from callwise.wake.moments import Moment, replayed_moments
from callwise.wake.store import WakeStore
from callwise.wake.wake_recording import (
    RecordedWakes,
    StrictRecorder,
    WakeFiles,
    WakeRecording,
    hold_new_folder,
    manifest_of,
)
from callwise.wake.wake_run import WakeListener, run_wakes
from callwise.wake.wake_settings import WakeSettings

__all__ = ["replay_wakes", "run_settings"]


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
) -> int:
    """Wake the agents of settings, and record the run where that is asked for; see `run_wakes`.

    Args:
        endpoints: those of `settings.served_by`. Owned.
        out: new or empty folder to record in; None records nothing. See `wake_recording`.
        keeps_store: whether the store may have something in it at the start.
        notify: called with what a person should know while a call waits.
        secrets: values of keys, kept out of every error.
        memory: see `run_wakes`.

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
) -> CassetteStatistics:
    """Replay a recording in virtual time: the same wakes and messages, and nothing is sent.

    Args:
        settings: those of the recording.
        hours: wakes after which it ends; None for all that had ended.
        out: new or empty folder for reports and chat; None writes nothing.

    Returns:
        The numbers of calls that were played and that are left.

    Raises:
        CassetteMiss: at the first call, hour or message that is not recorded.
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
        store = stack.enter_context(WakeStore(path))
        cassette = stack.enter_context(open_cassette(recorded.cassette))
        run_in_virtual_time(
            _replay(given, store, listener, recorded=recorded, cassette=cassette, count=count)
        )
        return cassette.statistics()


async def _replay(
    settings: WakeSettings,
    store: WakeStore,
    listener: WakeListener,
    *,
    recorded: RecordedWakes,
    cassette: Cassette,
    count: int,
) -> None:
    clock = LoopClock()
    start = recorded.start - clock.now()
    misses: list[CassetteMiss] = []

    def wall() -> float:
        return start + clock.now()

    def stop(miss: CassetteMiss) -> None:
        misses.append(miss)
        running.cancel()

    memory = None if recorded.recalled is None else PlayedMemory(recorded.recalled, stop)
    running = asyncio.ensure_future(
        _run(
            settings,
            store,
            recorded.endpoints(),
            listener,
            clock=clock,
            wall=wall,
            count=count,
            is_first_now=recorded.manifest.is_first_now,
            recorder=StrictRecorder(cassette, stop),
            moment=replayed_moments(recorded.times, clock=clock, on_miss=stop),
            memory=memory,
        )
    )
    try:
        await running
    except asyncio.CancelledError:
        if not misses:
            raise
    if misses:
        raise misses[0] from None
