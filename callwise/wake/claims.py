"""Claims of the processes of one store: calls of a day, hours to wake, what an hour decided.

A claim is one transaction, so that two processes never make the same one, and it is on disk before
what it allows begins: a crash may leave a claim unused, never used twice. A claimed time is leased
for as long as its process is at work, so that another one can go on where that has died.
"""

from callwise.wake.store_file import StoreFile, checked_name, checked_time, checked_whole

__all__ = ["CLAIM_TABLES", "Claims"]

CLAIM_TABLES = (
    """
    CREATE TABLE daily_quotas (
        name TEXT NOT NULL, day TEXT NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (name, day)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE claimed_slots (
        room TEXT NOT NULL, slot INTEGER NOT NULL, leased_until REAL, PRIMARY KEY (room, slot)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE settled_choices (
        place INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        slot INTEGER NOT NULL,
        choice TEXT NOT NULL,
        UNIQUE (name, slot)
    ) STRICT
    """,
)
"""Statements that make the tables of an empty store."""

MAX_CLAIMED = 1_000
"""Most claimed times of a room that are kept, the latest; none before them can be claimed then."""

MAX_CHOICES = 4
"""Most choices of one name that are kept: those settled last. Each may name all agents."""


class Claims:
    """The claims in a store."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    def take_quota(self, name: str, day: str, limit: int) -> bool:
        """Take one more of a day's quota, over all processes and restarts.

        Args:
            name: of the quota.
            day: of the quota, such as "2026-02-15"; any name that the next day does not have.
            limit: of a day, at least 0. It may differ from call to call.

        Returns:
            False where nothing is left.

        Raises:
            ConfigError: when a name is empty or the limit is below 0.
            StoreFailed: when the file cannot be written. Nothing was taken.
        """
        key = (checked_name("the quota", name), checked_name("the day", day))
        if checked_whole("the limit of a day", limit) == 0:
            return False
        with self._file.writing() as connection:
            taken = connection.execute(
                "INSERT INTO daily_quotas VALUES (?, ?, 1) "
                "ON CONFLICT DO UPDATE SET used = used + 1 WHERE used < ?",
                (*key, limit),
            )
            return taken.rowcount == 1

    def quota_left(self, name: str, day: str, limit: int) -> int:
        """Return what is left of a day's quota, at least 0.

        Raises:
            ConfigError: when a name is empty or the limit is below 0.
        """
        key = (checked_name("the quota", name), checked_name("the day", day))
        with self._file.reading() as connection:
            row = connection.execute(
                "SELECT used FROM daily_quotas WHERE name = ? AND day = ?", key
            ).fetchone()
        used = 0 if row is None else int(row[0])
        return max(checked_whole("the limit of a day", limit) - used, 0)

    def claim_slot(self, room: str, slot: int, *, until: float | None = None) -> bool:
        """Claim a time to wake a room, so that one of several schedulers does.

        Args:
            slot: number of the time, at least 0; later times have higher ones. One that a wrong
                clock has claimed too early does not end those before it.
            until: end of its lease, in UTC epoch seconds; None for one that needs no more work.

        Returns:
            False where it was claimed, by any process at any time, or is before all of the latest
            `MAX_CLAIMED`.

        Raises:
            ConfigError: when the room's name is empty, the slot is no whole number of at least 0,
                or the time is not finite.
            StoreFailed: when the file cannot be written. Nothing was claimed.
        """
        key = (checked_name("the room", room), checked_whole("the slot", slot))
        if until is not None:
            checked_time("the end of the lease", until)
        with self._file.writing() as connection:
            found = connection.execute(
                "SELECT count(*), min(slot) FROM claimed_slots WHERE room = ?", (room,)
            )
            kept, first = found.fetchone()
            if kept >= MAX_CLAIMED and slot < first:
                return False
            claimed = connection.execute(
                "INSERT INTO claimed_slots VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (*key, until)
            )
            if claimed.rowcount and kept >= MAX_CLAIMED:
                connection.execute(
                    "DELETE FROM claimed_slots WHERE room = ? AND slot = ?", (room, first)
                )
            return claimed.rowcount == 1

    def leased_until(self, room: str, slot: int) -> float | None:
        """Return the end of the lease of a room's claimed time, in UTC epoch seconds.

        None where it was not claimed, or its work has ended.

        Raises:
            StoreFailed: when the file cannot be read.
        """
        with self._file.reading() as connection:
            row = connection.execute(
                "SELECT leased_until FROM claimed_slots WHERE room = ? AND slot = ?", (room, slot)
            ).fetchone()
        return None if row is None else row[0]

    def lease_slot(
        self, room: str, slot: int, until: float | None, *, after: float | None = None
    ) -> bool:
        """Move the end of the lease of a room's claimed time; None ends its work for ever.

        Args:
            until: the new end, in UTC epoch seconds.
            after: the present, for one that takes the work over: only where the lease has ended.

        Returns:
            False where it was not claimed, its work has ended, or its lease has not.

        Raises:
            ConfigError: when a time is not finite.
            StoreFailed: when the file cannot be written. Nothing has changed.
        """
        for time in (until, after):
            if time is not None:
                checked_time("the end of the lease", time)
        with self._file.writing() as connection:
            moved = connection.execute(
                "UPDATE claimed_slots SET leased_until = ? "
                "WHERE room = ? AND slot = ? AND leased_until <= coalesce(?, leased_until)",
                (until, room, slot, after),
            )
            return moved.rowcount == 1

    def settle(self, name: str, slot: int, choice: str) -> str:
        """Keep what was decided for a time, and return what was decided first.

        Only the latest `MAX_CHOICES` are kept.

        Args:
            name: of what is decided.
            slot: number of the time, at least 0.
            choice: any text.

        Raises:
            ConfigError: when the name is empty, or the slot no whole number of at least 0.
            StoreFailed: when the file cannot be written. Nothing was kept.
        """
        key = (checked_name("the choice", name), checked_whole("the slot", slot))
        with self._file.writing() as connection:
            connection.execute(
                "INSERT INTO settled_choices (name, slot, choice) VALUES (?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                (*key, choice),
            )
            connection.execute(
                "DELETE FROM settled_choices WHERE name = ? AND place NOT IN ("
                "SELECT place FROM settled_choices WHERE name = ? ORDER BY place DESC LIMIT ?)",
                (name, name, MAX_CHOICES),
            )
        kept = self.settled(name, slot)
        return choice if kept is None else kept

    def last_settled(self, name: str) -> str | None:
        """Return what was decided last, for whichever time; None where nothing was.

        Raises:
            StoreFailed: when the file cannot be read.
        """
        with self._file.reading() as connection:
            row = connection.execute(
                "SELECT choice FROM settled_choices WHERE name = ? ORDER BY place DESC", (name,)
            ).fetchone()
        return None if row is None else str(row[0])

    def settled(self, name: str, slot: int) -> str | None:
        """Return what was decided for a time; None where nothing was, or `MAX_CHOICES` were since.

        Raises:
            StoreFailed: when the file cannot be read.
        """
        with self._file.reading() as connection:
            row = connection.execute(
                "SELECT choice FROM settled_choices WHERE name = ? AND slot = ?", (name, slot)
            ).fetchone()
        return None if row is None else str(row[0])
