"""Recordings of runs of awake agents: every call, every report, and what a replay needs.

    manifest.json   hours, endpoints and a digest of people's messages
    cassette.jsonl  every call and how it ended
    times.jsonl     the times of the events that prompts depend on; see `moments`
    recalled.jsonl  what a memory that was brought has answered; see `memory_recording`
    wakes.jsonl     one report per line, written as each wake ends
    messages.jsonl  the chat, one message per line
    store.sqlite    the store as it was at the beginning, where it had messages

A replay of it sends nothing, needs no key and no endpoint, and takes no time: it gives the same
messages and reports, byte for byte. A call that the recording does not have ends it with
`CassetteMiss`.

Files are made such that only their owner may read them: they contain what people wrote. None has a
key or a header of a request.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Annotated, Any, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from callwise.calls.client import Endpoint, OfflineClient, Prices
from callwise.calls.errors import ConfigError, FormatError
from callwise.calls.payload import mended
from callwise.calls.provider_errors import redacted_line
from callwise.recordings.cassette import Cassette, CassetteMode, open_cassette
from callwise.recordings.cassette_file import RecordingStopped
from callwise.recordings.held_files import LOCK, hold_folder, private_opener, replace_file
from callwise.wake.agent_memory import AgentMemory
from callwise.wake.memory_recording import RECALLED, RecordedMemory
from callwise.wake.moments import Moment, noted_moments
from callwise.wake.rooms import RoomMessage
from callwise.wake.scripted_lines import ids_of_lines, in_order
from callwise.wake.store import WakeStore
from callwise.wake.strict_replay import read_times
from callwise.wake.wake_report import WakeReport
from callwise.wake.wake_run import WakeListener
from callwise.wake.wake_settings import SaidLine, WakeSettings

__all__ = [
    "LinesFile",
    "RecordedWakes",
    "WakeFiles",
    "WakeManifest",
    "WakeRecording",
    "hold_new_folder",
    "manifest_of",
]

CASSETTE, TIMES, MANIFEST, STORE = "cassette.jsonl", "times.jsonl", "manifest.json", "store.sqlite"

MAX_MANIFEST_BYTES = 10_000_000

_FIRST_EVENT = "start"


class WakeManifest(BaseModel):
    """Facts of a recorded run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    callwise_wake: Literal[2] = 2
    """Version of the format."""
    is_simulated: bool
    """Whether all models were simulated."""
    is_first_now: bool
    """Whether the present hour was woken first."""
    hours: Annotated[int, Field(ge=1)] | None
    """Wakes after which it was to end."""
    endpoints: Mapping[str, tuple[str, str]]
    """Name and model of each endpoint, by the role or the name that calls ask for."""
    messages: str
    """Digest of people's messages."""


class LinesFile:
    """A file of JSON lines, each written immediately. A context manager.

    A failed write ends the writing, and not the run: it is raised at the end.

    Args:
        path: a new file, or one that is added to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Unbuffered: what was not written is not written later.
        self._file = open(path, "ab", buffering=0, opener=private_opener)  # noqa: SIM115 - owned
        self._failure: OSError | None = None

    def write(self, document: Any) -> None:
        """Write a line; nothing after a failure."""
        if self._failure is not None:
            return
        rest = memoryview(_line(document))
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._failure = error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the file.

        Raises:
            RecordingStopped: when not everything could be written, and the block ended well.
        """
        self._file.close()
        if self._failure is not None and kind is None:
            raise RecordingStopped(
                f"cannot write {self._path}: {self._failure.strerror}. The lines before it are "
                "whole; the run itself went on"
            ) from self._failure


class _OpenFiles:
    """Files that are closed together. A context manager.

    Args:
        stack: of the open files.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files.

        Raises:
            RecordingStopped: when not everything could be written.
        """
        self._stack.__exit__(kind, error, trace)


class WakeFiles(_OpenFiles):
    """The reports and the chat of a run, as lines of two files. A context manager.

    Args:
        folder: must exist.
        listener: sees them after they are written.
    """

    def __init__(self, folder: Path, listener: WakeListener) -> None:
        super().__init__(ExitStack())
        self._listener = listener
        self._wakes = self._stack.enter_context(LinesFile(folder / "wakes.jsonl"))
        self._messages = self._stack.enter_context(LinesFile(folder / "messages.jsonl"))

    def on_wake(self, report: WakeReport) -> None:
        """Write a report."""
        self._wakes.write(asdict(report))
        self._listener.on_wake(report)

    def on_message(self, message: RoomMessage) -> None:
        """Write a message."""
        self._messages.write(asdict(message))
        self._listener.on_message(message)


class WakeRecording(_OpenFiles):
    """The folder of a run that is being recorded. A context manager, owned by one process.

    Args:
        folder: made where it is missing; must be empty.
        store: of the run, copied for the replay; None where it is empty.
        memory: that was brought; None for the notes of the store.

    Raises:
        ConfigError: when the folder cannot be made, or has something in it.

    Attributes:
        cassette: records the calls.
        moment: notes the times.
        memory: writes down what the brought memory answers; None without one.
    """

    def __init__(
        self,
        folder: Path,
        manifest: WakeManifest,
        store: WakeStore | None,
        *,
        wall: Callable[[], float],
        memory: AgentMemory | None = None,
    ) -> None:
        self.path = folder
        with ExitStack() as stack:
            stack.enter_context(hold_new_folder(folder))
            if store is not None:
                store.copy_to(folder / STORE)
            self.cassette: Cassette = stack.enter_context(
                open_cassette(folder / CASSETTE, CassetteMode.NEW_EPISODES, redact=redacted_line)
            )
            times = stack.enter_context(LinesFile(folder / TIMES))
            self.moment: Moment = noted_moments(wall, lambda name, at: times.write([name, at]))
            self.memory: AgentMemory | None = None
            if memory is not None:
                recalled = stack.enter_context(LinesFile(folder / RECALLED))
                self.memory = RecordedMemory(memory, recalled.write)
            replace_file(folder / MANIFEST, _line(manifest.model_dump(mode="json")))
            super().__init__(stack.pop_all())


@dataclass(frozen=True, slots=True)
class RecordedWakes:
    """A recording that is read.

    Args:
        cassette: path of the file of calls.
        times: of each event, in order.
        store: the store at the beginning; None for an empty one.
        recalled: path of what a brought memory has answered; None without one.
    """

    cassette: Path
    manifest: WakeManifest
    times: Mapping[str, float]
    store: Path | None
    recalled: Path | None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the recording of a folder, or of the cassette in it.

        Raises:
            FormatError: when it is none, has no event, or one of its files is a link: a recording
                that comes from someone else reads no other file.
        """
        folder = path if path.is_dir() else path.parent
        cassette = folder / CASSETTE if path.is_dir() else path
        for file in (cassette, *(folder / name for name in (MANIFEST, TIMES, STORE, RECALLED))):
            if file.is_symlink():
                raise FormatError(file, None, "is a link to another file. Put a copy in its place")
        if not cassette.is_file():
            raise FormatError(path, None, "does not exist; make one: callwise wake ... --out DIR")
        manifest, times, *others = (folder / name for name in (MANIFEST, TIMES, STORE, RECALLED))
        try:
            if manifest.stat().st_size > MAX_MANIFEST_BYTES:
                raise FormatError(manifest, None, "is too large for the manifest of a run")
            read = WakeManifest.model_validate_json(manifest.read_bytes())
            events = read_times(times)
        except OSError as error:
            raise FormatError(
                Path(error.filename or folder),
                None,
                f"cannot be read ({error.strerror}); a recording of wakes is a folder of "
                f"{CASSETTE}, {MANIFEST} and {TIMES}",
            ) from error
        except ValidationError as error:
            raise FormatError(
                manifest, None, "expected the manifest of a run of wakes of format 2"
            ) from error
        if _FIRST_EVENT not in events:
            raise FormatError(times, None, f"has no event `{_FIRST_EVENT}`: the run did not begin")
        store, recalled = (each if each.is_file() else None for each in others)
        return cls(cassette, read, events, store, recalled)

    @property
    def start(self) -> float:
        """The time at which it began, in UTC epoch seconds."""
        return self.times[_FIRST_EVENT]

    @property
    def hours(self) -> int:
        """The number of hours whose wake has ended.

        Those of a process that had died are not counted, as in the run.
        """
        return sum(f"end:{key}" in self.times for key in self._own_hours())

    @property
    def begun_hours(self) -> int:
        """The number of hours whose wake has begun, counted in the same way."""
        return len(self._own_hours())

    @property
    def unended(self) -> tuple[str, ...]:
        """The keys of the hours and of the messages that had begun and not ended."""
        # A message that addresses agents asks them in the step in which it is said, and another
        # hour comes after one that has failed.
        asked = [key for key in self._begun("ask") if key.startswith("@")]
        last = [*self.times][-1]
        if last.startswith("say:"):
            asked.append(f"@{last.partition(':')[2]}")
        keys = [*self._own_hours()[-1:], *self._begun("again"), *asked]
        return tuple(key for key in keys if f"end:{key}" not in self.times)

    def before_hour(self, hours: int) -> Self:
        """Return the beginning of the recording, until more hours than these begin."""
        events, begun = [*self.times], self._own_hours()
        end = events.index(f"wake:{begun[hours]}") if hours < len(begun) else len(events)
        return replace(self, times={name: self.times[name] for name in events[:end]})

    def _begun(self, kind: str) -> list[str]:
        named = (name.partition(":") for name in self.times)
        return [key for each, _, key in named if each == kind]

    def _own_hours(self) -> list[str]:
        return [key for key in self._begun("wake") if f"again:{key}" not in self.times]

    def endpoints(self) -> dict[str, Endpoint]:
        """Return the endpoints of the recording, by role or name; none sends anything.

        They do not depend on settings and environment of the replay. Their prices are 0, since
        what a call has cost is in its recorded usage.
        """
        client = OfflineClient(is_simulated=self.manifest.is_simulated)
        return {
            key: Endpoint(name, model, client, Prices(0.0, 0.0))
            for key, (name, model) in self.manifest.endpoints.items()
        }

    def messages(self, given: Sequence[SaidLine], *, room: str) -> tuple[SaidLine, ...]:
        """Return the messages of people that were said, each to be said when its time comes.

        Args:
            given: those of the run, in any order.
            room: that of the run.

        Raises:
            ConfigError: when other messages were recorded.
        """
        if self.manifest.messages != digest_of(given):
            raise ConfigError(
                f"{self.cassette.parent} was recorded with other messages of people. Give the same "
                "file of agents, and the same --messages"
            )
        said: list[SaidLine] = []
        lines = in_order(given)
        for message_id, line in zip(
            ids_of_lines(lines, room=room, start=self.start), lines, strict=True
        ):
            if f"say:{message_id}" not in self.times:
                break
            said.append(line.model_copy(update={"after_seconds": 0.0}))
        return tuple(said)


def digest_of(messages: Sequence[SaidLine]) -> str:
    """Return what identifies messages of people: 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for line in in_order(messages):
        digest.update(_line(line.model_dump(mode="json")))
    return digest.hexdigest()


def manifest_of(
    settings: WakeSettings,
    endpoints: Mapping[str, Endpoint],
    *,
    hours: int | None,
    is_first_now: bool,
) -> WakeManifest:
    """Return the facts of a run."""
    return WakeManifest(
        is_simulated=all(each.client.is_simulated for each in endpoints.values()),
        is_first_now=is_first_now,
        hours=hours,
        endpoints={str(key): (each.name, each.model) for key, each in endpoints.items()},
        messages=digest_of(settings.messages),
    )


def hold_new_folder(folder: Path) -> IO[bytes]:
    """Return the lock on a new or empty folder.

    Raises:
        ConfigError: when it cannot be made, or has something in it.
    """
    names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
    if others := [each for each in names if each != LOCK]:
        raise ConfigError(
            f"{folder} has something in it ({others[0]!r}); choose another folder with --out"
        )
    return hold_folder(folder)


def _line(document: Any) -> bytes:
    return orjson.dumps(mended(_lists(document)), option=orjson.OPT_APPEND_NEWLINE)


def _lists(value: Any) -> Any:
    """Return a value with its tuples as lists."""
    if isinstance(value, Mapping):
        return {name: _lists(each) for name, each in value.items()}
    return [_lists(each) for each in value] if isinstance(value, list | tuple) else value
