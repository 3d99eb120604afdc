"""Credits of agents: a double-entry, append-only record of transfers.

Problem: a reply is paid once, whatever crashes, and no agent spends more than it has, whatever
asks concurrently.
Choice: a transfer is one row with two sides, and a trigger writes its two legs, each with the
balance after it. The database itself refuses a balance below 0, a leg without its transfer, and
any change of what is written. A balance is read from the last leg.
Rejected: a column with the balance, which each writer would have to keep right.

A message's credits go from its account to `:held`, and from there either to `:spent` or back. A
message that was given back may be paid again: its attempts are counted from 0.
"""

import sqlite3
from typing import NamedTuple

from callwise.calls.errors import ConfigError
from callwise.memory.memory_errors import StoreFailed
from callwise.wake.store_file import StoreFile, append_only, checked_name, checked_whole

__all__ = ["CREDIT_TABLES", "MAX_CREDITS", "Credits", "hold_credits", "spend_hold"]

MAX_CREDITS = 10**12
"""Most credits of one transfer."""

_ISSUER, _HELD, _SPENT = ":issuer", ":held", ":spent"
"""Accounts of the store. Only the issuer's balance is below 0: it is what was granted."""

_LAST = "coalesce((SELECT balance FROM credit_legs WHERE account = {} ORDER BY transfer DESC), 0)"

CREDIT_TABLES = (
    f"""
    CREATE TABLE credit_transfers (
        place INTEGER PRIMARY KEY,
        kind TEXT NOT NULL CHECK (kind IN ('grant', 'hold', 'spend', 'release')),
        id TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        source TEXT NOT NULL,
        target TEXT NOT NULL CHECK (target <> source),
        credits INTEGER NOT NULL CHECK (credits BETWEEN 0 AND {MAX_CREDITS}),
        UNIQUE (id, kind, attempt)
    ) STRICT
    """,
    """
    CREATE UNIQUE INDEX credit_hold_ends ON credit_transfers (id, attempt)
    WHERE kind IN ('spend', 'release')
    """,
    f"""
    CREATE TABLE credit_legs (
        account TEXT NOT NULL,
        transfer INTEGER NOT NULL,
        credits INTEGER NOT NULL,
        balance INTEGER NOT NULL CHECK (balance >= 0 OR account = '{_ISSUER}'),
        PRIMARY KEY (account, transfer)
    ) STRICT, WITHOUT ROWID
    """,
    f"""
    CREATE TRIGGER credit_legs_of_transfer AFTER INSERT ON credit_transfers BEGIN
        INSERT INTO credit_legs VALUES (
            NEW.source, NEW.place, -NEW.credits, {_LAST.format("NEW.source")} - NEW.credits
        );
        INSERT INTO credit_legs VALUES (
            NEW.target, NEW.place, NEW.credits, {_LAST.format("NEW.target")} + NEW.credits
        );
    END
    """,  # noqa: S608
    f"""
    CREATE TRIGGER credit_leg_fits BEFORE INSERT ON credit_legs
    WHEN NEW.balance <> NEW.credits + {_LAST.format("NEW.account")} OR NOT EXISTS (
        SELECT 1 FROM credit_transfers WHERE place = NEW.transfer AND (
            (source = NEW.account AND credits = -NEW.credits)
            OR (target = NEW.account AND credits = NEW.credits)
        )
    )
    BEGIN SELECT RAISE(ABORT, 'this leg is not one of its transfer'); END
    """,  # noqa: S608
    """
    CREATE TABLE credit_open_holds (
        id TEXT PRIMARY KEY, transfer INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TRIGGER credit_hold_opens AFTER INSERT ON credit_transfers WHEN NEW.kind = 'hold'
    BEGIN INSERT INTO credit_open_holds VALUES (NEW.id, NEW.place); END
    """,
    """
    CREATE TRIGGER credit_hold_closes AFTER INSERT ON credit_transfers
    WHEN NEW.kind IN ('spend', 'release')
    BEGIN DELETE FROM credit_open_holds WHERE id = NEW.id; END
    """,
    *append_only("credit_transfers"),
    *append_only("credit_legs"),
)
"""Statements that make the tables of an empty store."""


class _Hold(NamedTuple):
    """The latest hold of a message; `end` is `spend`, `release`, or None while it is open."""

    account: str
    credits: int
    attempt: int
    end: str | None


class Credits:
    """The credits of all accounts in a store."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    def grant(self, account: str, credits: int, *, transfer_id: str) -> bool:  # noqa: A002
        """Give an account new credits; once for each `transfer_id`.

        Args:
            account: a name that does not begin with a colon.
            credits: from 0 to `MAX_CREDITS`.
            transfer_id: distinguishes this grant from all others; of grants alone.

        Returns:
            False where this grant was there.

        Raises:
            ConfigError: when a value is out of its range, or the id is of another grant.
            StoreFailed: when the file cannot be written. Nothing was committed.
        """
        granted = (_checked_account(account), _checked_credits(credits))
        checked_name("the transfer id", transfer_id)
        with self._file.writing() as connection:
            earlier = connection.execute(
                "SELECT target, credits FROM credit_transfers WHERE id = ? AND kind = 'grant'",
                (transfer_id,),
            ).fetchone()
            if earlier is None:
                _transfer(connection, "grant", transfer_id, 0, _ISSUER, account, credits)
            elif earlier != granted:
                raise ConfigError(
                    f"transfer {transfer_id[:40]!r} has granted {earlier[1]} credits to "
                    f"{earlier[0][:40]!r}. Give this grant another id"
                )
            return earlier is None

    def balance(self, account: str) -> int:
        """Return the credits that an account has left; 0 for one without transfers.

        Raises:
            ConfigError: when the name is empty or too long, or begins with a colon.
        """
        with self._file.reading() as connection:
            return _balance(connection, _checked_account(account))

    def hold(self, message_id: str, account: str, credits: int) -> bool:  # noqa: A002
        """Set credits of an account apart for a message; once while the hold is open.

        A message that is paid already is not paid again. One that was released may be held
        again.

        Args:
            credits: from 0 to `MAX_CREDITS`.

        Returns:
            False where the account has too few; then nothing has changed.

        Raises:
            ConfigError: when a value is out of its range, or the message is held or paid with
                another account or amount.
            StoreFailed: when the file cannot be written. Nothing was committed.
        """
        with self._file.writing() as connection:
            return hold_credits(connection, message_id, account, credits)

    def release(self, message_id: str) -> bool:
        """Give the credits of an open hold back to their account.

        Returns:
            Whether there was one. A message that is paid stays paid.

        Raises:
            StoreFailed: when the file cannot be written. Nothing was committed.
        """
        checked_name("the message id", message_id)
        with self._file.writing() as connection:
            hold = _latest_hold(connection, message_id)
            if hold is None or hold.end is not None:
                return False
            _end(connection, "release", message_id, hold, hold.account)
            return True

    def open_holds(self) -> list[str]:
        """Return the messages whose credits are neither spent nor released, oldest first.

        After a crash they are those of replies that were under way.
        """
        with self._file.reading() as connection:
            found = connection.execute("SELECT id FROM credit_open_holds ORDER BY transfer")
            return [message_id for (message_id,) in found]

    def total(self) -> int:
        """Return the sum of all legs, which is 0. It reads all of them."""
        with self._file.reading() as connection:
            found = connection.execute("SELECT coalesce(sum(credits), 0) FROM credit_legs")
            return int(found.fetchone()[0])


def hold_credits(
    connection: sqlite3.Connection,
    message_id: str,
    account: str,
    credits: int,  # noqa: A002
) -> bool:
    """Hold credits for a message, within a transaction; see `Credits.hold`.

    Raises:
        ConfigError: when a value is out of its range, or the message is held or paid with
            another account or amount.
    """
    checked_name("the message id", message_id)
    _checked_account(account)
    _checked_credits(credits)
    earlier = _latest_hold(connection, message_id)
    if earlier is not None and earlier.end != "release":
        if (earlier.account, earlier.credits) != (account, credits):
            raise ConfigError(
                f"message {message_id[:40]!r} has {earlier.credits} credits of "
                f"{earlier.account[:40]!r}. Hold the same, or release it first"
            )
        return True
    if _balance(connection, account) < credits:
        return False
    attempt = 0 if earlier is None else earlier.attempt + 1
    _transfer(connection, "hold", message_id, attempt, account, _HELD, credits)
    return True


def spend_hold(connection: sqlite3.Connection, message_id: str) -> None:
    """Spend the open hold of a message, within a transaction.

    Raises:
        StoreFailed: when there is none.
    """
    hold = _latest_hold(connection, message_id)
    if hold is None or hold.end is not None:
        state = "no hold" if hold is None else f"a hold that has ended ({hold.end})"
        raise StoreFailed(
            f"message {message_id[:40]!r} has {state}, so it cannot be paid. Hold its credits "
            "first. Nothing was committed."
        )
    _end(connection, "spend", message_id, hold, _SPENT)


def _checked_account(account: str) -> str:
    if account.startswith(":"):
        raise ConfigError(f"account {account[:40]!r} begins with a colon, as those of the store do")
    return checked_name("the account", account)


def _checked_credits(credits: int) -> int:  # noqa: A002
    return checked_whole("credits", credits, most=MAX_CREDITS)


def _balance(connection: sqlite3.Connection, account: str) -> int:
    (balance,) = connection.execute(f"SELECT {_LAST.format('?')}", (account,)).fetchone()
    return int(balance)


def _latest_hold(connection: sqlite3.Connection, message_id: str) -> _Hold | None:
    found = connection.execute(
        "SELECT source, credits, attempt, ("
        "SELECT kind FROM credit_transfers AS ended WHERE ended.id = hold.id "
        "AND ended.attempt = hold.attempt AND ended.kind IN ('spend', 'release')"
        ") FROM credit_transfers AS hold WHERE id = ? AND kind = 'hold' "
        "ORDER BY attempt DESC LIMIT 1",
        (message_id,),
    ).fetchone()
    return None if found is None else _Hold(*found)


def _end(
    connection: sqlite3.Connection, kind: str, message_id: str, hold: _Hold, target: str
) -> None:
    _transfer(connection, kind, message_id, hold.attempt, _HELD, target, hold.credits)


def _transfer(connection: sqlite3.Connection, *row: str | int) -> None:
    """Write a transfer: kind, id, attempt, source, target, credits."""
    connection.execute(
        "INSERT INTO credit_transfers (kind, id, attempt, source, target, credits) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        row,
    )
