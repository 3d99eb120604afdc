"""A cassette: the recording as the budgeter sees it, in one of three modes.

| mode | a call that is recorded | a call that is not | the file |
|---|---|---|---|
| `strict` | played | `CassetteMiss` | never written |
| `new-episodes` | played | sent, and appended | made when missing |
| `rewrite` | sent, and recorded again | sent, and recorded | started again |

`new-episodes` plays the exchanges that were in the file when it was opened, none that it
recorded since: an equal call later in the same run is then served from the cache or
sent, as it would be without a recorder, and gets its own exchange.

`rewrite` renames the old cassette before it starts a new one, and removes that backup
when `finish` reports that the run ended well. A rewrite that breaks off loses neither: the
old recording is in the backup, and the new one, as far as it came, in the file.

The recorder protocol is synchronous; see `cassette_file` for why it may be.
"""

import os
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from callwise.budget.recorder import CallOrigin, RecordedExchange, arm_of_scope
from callwise.calls.call import Call, Role
from callwise.calls.choice import Choice
from callwise.calls.errors import CassetteMiss, FormatError
from callwise.calls.key import CallKey
from callwise.recordings.cassette_file import CassetteFile, RecordingStopped
from callwise.recordings.cassette_format import Redact, exchange_document, lane_digest
from callwise.recordings.cassette_header import header_line
from callwise.recordings.cassette_inspection import explain_miss
from callwise.recordings.held_files import MAX_UNPACKED_BYTES, Write, write_at
from callwise.recordings.normalising import (
    CassetteKeys,
    Normaliser,
    Rule,
    normaliser_of,
)
from callwise.recordings.recorded_choices import RecordedChoices

__all__ = ["Cassette", "CassetteMode", "CassetteStatistics", "open_cassette"]

MAX_FIRST_LINES = 1_000
"""Exchanges that are read to find who answered first."""


class CassetteMode(StrEnum):
    """Use of a cassette: which calls are played, sent and recorded."""

    STRICT = "strict"
    NEW_EPISODES = "new-episodes"
    REWRITE = "rewrite"


@dataclass(frozen=True, slots=True)
class CassetteStatistics:
    """Counts of a cassette so far.

    Args:
        found_count: exchanges that were in the cassette when it was opened.
        played_count: how many of them were handed out.
        left_count: how many of them no call has asked for.
        recorded_count: exchanges appended since.
        unrecorded_count: calls that ended and were not written: all of them in strict
            mode, and those after the recording stopped in the others.
        recovered_bytes: length of a broken last line that was left out; 0 when whole.
    """

    found_count: int
    played_count: int
    left_count: int
    recorded_count: int
    unrecorded_count: int
    recovered_bytes: int


def _unchanged(text: str) -> str:
    return text


def _backup_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.before-rewrite.bak")


class Cassette:
    """Plays and records calls on a cassette. A `callwise.budget.recorder.Recorder`.

    Args:
        file: open; owned, and closed with the cassette.
    """

    def __init__(
        self,
        file: CassetteFile,
        mode: CassetteMode,
        *,
        redact: Redact = _unchanged,
        normaliser: Normaliser | None = None,
    ) -> None:
        self._file = file
        self._end_numbers: array[int] | None = None
        self._choices: RecordedChoices | None = None
        self._taken_choices: set[int] = set()
        self._keys = CassetteKeys(file, normaliser or Normaliser())
        self._mode = mode
        self._redact = redact
        self._played_count = 0
        self._unrecorded_count = 0
        self._failure: RecordingStopped | None = None

    @property
    def path(self) -> Path:
        """The cassette's file."""
        return self._file.path

    @property
    def mode(self) -> CassetteMode:
        """Its mode; see above."""
        return self._mode

    @property
    def failure(self) -> RecordingStopped | None:
        """Return the error that stopped recording, or None while it goes on. `close` raises it."""
        return self._failure

    @property
    def notices(self) -> Sequence[str]:
        """Notices about the file for the user."""
        notices = []
        if self._file.recovered_bytes:
            notices.append(
                f"{self.path} ended in a broken line, as a recording does that was killed: its "
                f"{self._file.recovered_bytes} bytes are left out, "
                f"the {len(self._file.index)} exchanges before it are whole"
            )
        notices += [
            f"{self.path} has no calls of the endpoint {asked}; those that it has of the same "
            f"model at {recorded} answer for it"
            for asked, recorded in self._keys.moved.items()
        ]
        return tuple(notices)

    def count_of(self, scope: str) -> int:
        """Return how many exchanges a scope has recorded, those that were played included."""
        return sum(1 for _ in self._file.index.entries_of(lane_digest(scope)))

    def lookup(self, key: CallKey, call: Call, where: CallOrigin) -> RecordedExchange | None:
        """Take the next exchange of a key; see `cassette_index` for which one that is.

        Raises:
            CassetteMiss: in strict mode, when none is left; names how the call differs
                from the nearest recorded one.
            FormatError: when the exchange's line is damaged.
        """
        lane, take = lane_digest(where.scope), self._file.index.take
        found = (take(name, lane) for name in self._keys.all(key, call, where))
        entry = next((each for each in found if each is not None), None)
        if entry is None:
            if self._mode is CassetteMode.STRICT:
                own = self._keys.own(key, call, where)
                normaliser = self._keys.normaliser
                raise CassetteMiss(explain_miss(self._file, own, call, where, normaliser))
            return None
        document = self._file.read(entry)
        exchange = self._file.decoded(entry, document)
        self._played_count += 1
        if call.origin is None:
            return exchange
        # What waits for what in a program that is not ours is not known: its calls end in order.
        recorded_in = (document.get("conversation"), document.get("turn"))
        is_of_turn = recorded_in == (where.conversation, where.turn)
        return replace(exchange, end_number=self._end_number(entry) if is_of_turn else 0)

    def asked_key(self, key: CallKey, call: Call, where: CallOrigin) -> CallKey:
        """Return the key under which it has a question; see `RecordsChoices`."""
        return self._keys.own(key, call, where)

    def recorded_choice(
        self,
        asked: CallKey,
        where: CallOrigin,
        *,
        table: str,
        step: int,
        is_by_budget: bool,  # noqa: ARG002 - a cassette is played under its own limits
    ) -> Choice | None:
        """Take the next choice of a question that was in the file when it was opened.

        Reads the whole file, once.
        """
        if self._choices is None:
            self._choices = RecordedChoices(self._file)
        lane = lane_digest(where.scope)
        return self._choices.take(asked, lane, table=table, step=step, taken=self._taken_choices)

    def _end_number(self, entry: int) -> int:
        """Return which of its turn's calls an exchange was to end, from 1, as lines are ordered.

        Reads the whole file, once.
        """
        if self._end_numbers is None:
            self._end_numbers = array("L", bytes(array("L").itemsize * len(self._file.index)))
            counts: Counter[str] = Counter()
            for each, fields in self._file.readable():
                turn = str((fields.get("conversation"), fields.get("turn")))
                counts[turn] += 1
                self._end_numbers[each] = counts[turn]
        return self._end_numbers[entry] if entry < len(self._end_numbers) else 0

    def record(
        self, key: CallKey, call: Call, where: CallOrigin, exchange: RecordedExchange
    ) -> None:
        """Append how a call ended; nothing in strict mode, nor after a failed write.

        Never raises for the file: a failed write is in `failure`, and the run goes on.
        """
        if self._mode is CassetteMode.STRICT or self._failure is not None:
            self._unrecorded_count += 1
            return
        try:
            own = self._keys.own(key, call, where)
            document = exchange_document(
                own, call, where, exchange, redact=self._redact, session=len(self._file.index)
            )
            self._file.append(document)
        except RecordingStopped as stopped:
            self._failure = stopped
            self._unrecorded_count += 1
        except (TypeError, ValueError) as error:
            self._failure = RecordingStopped(
                f"cannot record a call of {where.scope} to {self.path}: {error}. What was "
                "recorded so far is intact; this call and what follows is not recorded"
            )
            self._unrecorded_count += 1

    def answered_by(self) -> dict[str, tuple[str, str]]:
        """Return the endpoint and the model that answered each role or chosen model last.

        Reads the whole file. What a policy's choice of a model has answered is of that model.

        Raises:
            FormatError: when a line is damaged.
        """
        found: dict[str, tuple[str, str]] = {}
        for entry in range(len(self._file.index)):
            line = self._file.read(entry)
            try:
                choice = line.get("choice")
                asked = choice["model"] if isinstance(choice, dict) else Role(line["role"])
                found[str(asked)] = str(line["endpoint"]), str(line["model"])
            except (KeyError, ValueError) as error:
                raise self._file.damaged(entry, f"not an exchange: {error!r}") from error
        return found

    def first_answers(self) -> dict[Role, tuple[str, str, bool]]:
        """Return endpoint, model and whether it is simulated of each role's first answer.

        Damaged lines are left out, and of a long file only the beginning is read.
        """
        found: dict[Role, tuple[str, str, bool]] = {}
        for _, line in islice(self._file.readable(), MAX_FIRST_LINES):
            role, reply = line.get("role"), line.get("reply")
            if isinstance(reply, dict) and role in tuple(Role):
                is_simulated = reply.get("is_simulated") is True
                where = str(line.get("endpoint")), str(line.get("model"))
                found.setdefault(Role(role), (*where, is_simulated))
        return found

    def arms(self) -> dict[tuple[str, str], str]:
        """Return the arm of an experiment by conversation and turn. Reads the whole file.

        Turns that were recorded outside of an experiment, and damaged lines, are left out.
        """
        return {
            (str(line.get("conversation")), str(line.get("turn"))): arm
            for _, line in self._file.readable()
            if (arm := arm_of_scope(str(line.get("scope"))))
        }

    def statistics(self) -> CassetteStatistics:
        """Return what was played and recorded so far."""
        file = self._file
        return CassetteStatistics(
            found_count=len(file.index),
            played_count=self._played_count,
            left_count=file.index.left_count,
            recorded_count=file.appended_count,
            unrecorded_count=self._unrecorded_count,
            recovered_bytes=file.recovered_bytes,
        )

    def finish(self) -> None:
        """Close after a run that ended well: a rewrite's backup is no longer needed.

        Raises:
            RecordingStopped: when not everything could be written. The backup stays.
        """
        self.close()
        if self._mode is not CassetteMode.STRICT:
            _backup_path(self.path).unlink(missing_ok=True)

    def close(self) -> None:
        """Release the file. Safe to call twice.

        Raises:
            RecordingStopped: when not everything could be written.
        """
        self._file.close()
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish when the block ended well; otherwise close and let its error through."""
        if kind is None:
            self.finish()
        else:
            self._file.close()


def open_cassette(
    path: str | Path,
    mode: CassetteMode = CassetteMode.STRICT,
    *,
    redact: Redact = _unchanged,
    write: Write = write_at,
    sync: Callable[[int], None] = os.fsync,
    clock: Callable[[], float] = time.monotonic,
    normalise: Sequence[Rule] = (),
    max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
) -> Cassette:
    """Open a cassette to play it, to record on it, or to record it again.

    Args:
        mode: reads only, unless said otherwise.
        redact: takes secrets out of the texts of errors before they are written.
        write: how bytes reach the file; for tests of a full disk.
        sync: puts what was written on the disk; see `cassette_file`.
        normalise: what its keys leave out of prompts: names of built-in rules (see
            `callwise.recordings.normalising.BUILT_IN`), regular expressions, or functions from
            text to text, in the order in which they are applied. They are written into a
            new cassette's header; of one that is played, they must be the same. None takes
            the built-in rules that the header names.
        max_unpacked_bytes: most bytes that a packed cassette may be unpacked to.

    Raises:
        FormatError: when the file is missing, not a cassette, damaged, of another version,
            or has other normalisers; with what to do.
        ConfigError: when another process records to it, it cannot be opened, or a
            normaliser is none.
    """
    where = Path(path)
    mode = CassetteMode(mode)
    given = normaliser_of(normalise)
    options = {
        "write": write,
        "sync": sync,
        "clock": clock,
        "new_header": header_line(given.describe()),
    }
    if mode is CassetteMode.STRICT:
        file = CassetteFile.open_reading(where, max_unpacked_bytes=max_unpacked_bytes)
    elif mode is CassetteMode.NEW_EPISODES:
        file = CassetteFile.open_appending(where, **options)
    else:
        backup = _backup_path(where)
        file = CassetteFile.start_anew(where, backup=backup, **options)
    try:
        return Cassette(file, mode, redact=redact, normaliser=given)
    except FormatError:
        file.close()
        raise
