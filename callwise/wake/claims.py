"""Claims of the processes of one store: calls of a day, hours to wake, what an hour decided.

A claim is one statement, so that two processes never make the same one, and it is on disk before
what it allows begins: a crash may leave a claim unused, never used twice.
"""

from callwise.wake.store_file import StoreFile, checked_name, checked_whole

__all__ = ["CLAIM_TABLES", "Claims"]

CLAIM_TABLES = (
    """
    CREATE TABLE daily_quotas (
        name TEXT NOT NULL, day TEXT NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (name, day)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE claimed_slot (
        only INTEGER PRIMARY KEY CHECK (only = 1), slot INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE settled_choices (
        name TEXT PRIMARY KEY, slot INTEGER NOT NULL, choice TEXT NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
)
"""Statements that make the tables of an empty store."""


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

    def claim_slot(self, slot: int) -> bool:
        """Claim a time to wake, so that one of several schedulers does.

        Args:
            slot: number of the time, at least 0; later times have higher ones. One that a
                wrong clock has claimed too early ends all before it.

        Returns:
            False where this slot or a later one was claimed, by any process at any time.

        Raises:
            ConfigError: when the slot is no whole number of at least 0.
            StoreFailed: when the file cannot be written. Nothing was claimed.
        """
        checked_whole("the slot", slot)
        with self._file.writing() as connection:
            claimed = connection.execute(
                "INSERT INTO claimed_slot VALUES (1, ?) "
                "ON CONFLICT DO UPDATE SET slot = excluded.slot WHERE excluded.slot > slot",
                (slot,),
            )
            return claimed.rowcount == 1

    def settle(self, name: str, slot: int, choice: str) -> str:
        """Keep what was decided for a time, and return what was decided first.

        Only the choice of the latest slot is kept.

        Args:
            name: of what is decided.
            slot: number of the time, at least 0; later times have higher ones.
            choice: any text.

        Raises:
            ConfigError: when the name is empty, or the slot no whole number of at least 0.
            StoreFailed: when the file cannot be written. Nothing was kept.
        """
        key = (checked_name("the choice", name), checked_whole("the slot", slot))
        with self._file.writing() as connection:
            connection.execute(
                "INSERT INTO settled_choices VALUES (?, ?, ?) ON CONFLICT DO UPDATE "
                "SET slot = excluded.slot, choice = excluded.choice WHERE excluded.slot > slot",
                (*key, choice),
            )
        kept = self.settled(name, slot)
        return choice if kept is None else kept

    def settled(self, name: str, slot: int) -> str | None:
        """Return what was decided for a time; None where nothing was, or a later one was settled.

        Raises:
            StoreFailed: when the file cannot be read.
        """
        with self._file.reading() as connection:
            row = connection.execute(
                "SELECT choice FROM settled_choices WHERE name = ? AND slot = ?", (name, slot)
            ).fetchone()
        return None if row is None else str(row[0])
