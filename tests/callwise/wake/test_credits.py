"""Credits: transfers whose legs sum to 0, no balance below 0, nothing paid twice."""

import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from callwise.calls.errors import ConfigError
from callwise.memory.memory_errors import StoreFailed
from callwise.wake import OutgoingMessage, WakeStore
from callwise.wake.credits import MAX_CREDITS

REPOSITORY = Path(__file__).parents[3]


def outgoing(message_id: str, author: str = "ann") -> OutgoingMessage:
    """Return a message that is due at 1."""
    return OutgoingMessage(message_id, "main", author, "tea?", 1.0)


def legs(store: WakeStore) -> list[tuple[int, str, int, int]]:
    """Return all legs: transfer, owner, credits, balance."""
    found = store._file._connection.execute(
        "SELECT transfer, account, credits, balance FROM credit_legs ORDER BY transfer, credits"
    )
    return found.fetchall()


def test_a_reply_is_paid_from_its_hold(store: WakeStore) -> None:
    """Held credits have left the balance; a published message has spent them."""
    store.credits.grant("ann", 3, transfer_id="first")
    assert store.credits.hold("m1", "ann", 2)
    assert store.credits.balance("ann") == 1
    assert store.credits.open_holds() == ["m1"]
    assert store.publish(outgoing("m1"))
    assert store.credits.open_holds() == []
    assert legs(store) == [
        (1, ":issuer", -3, -3),
        (1, "ann", 3, 3),
        (2, "ann", -2, 1),
        (2, ":held", 2, 2),
        (3, ":held", -2, 0),
        (3, ":spent", 2, 2),
    ]


def test_a_grant_is_given_once(store: WakeStore) -> None:
    """The same id gives nothing again, and another amount or receiver is an error."""
    assert store.credits.grant("ann", 3, transfer_id="first")
    assert not store.credits.grant("ann", 3, transfer_id="first")
    with pytest.raises(ConfigError, match="'first' has granted 3 credits to 'ann'"):
        store.credits.grant("ann", 4, transfer_id="first")
    with pytest.raises(ConfigError, match="another id"):
        store.credits.grant("bob", 3, transfer_id="first")
    assert (store.credits.balance("ann"), store.credits.balance("bob")) == (3, 0)


def test_a_hold_is_made_once(store: WakeStore) -> None:
    """The same message takes nothing again, not even when it is paid."""
    store.credits.grant("ann", 3, transfer_id="first")
    for _ in range(2):
        assert store.credits.hold("m1", "ann", 2)
    with pytest.raises(ConfigError, match="message 'm1' has 2 credits of 'ann'"):
        store.credits.hold("m1", "ann", 1)
    assert store.publish(outgoing("m1"))
    assert store.credits.hold("m1", "ann", 2)
    assert not store.credits.release("m1"), "a paid message stays paid"
    assert store.credits.balance("ann") == 1


def test_released_credits_may_be_held_again(store: WakeStore) -> None:
    """A reply that failed costs nothing, and its message can be paid when it is asked again."""
    store.credits.grant("ann", 2, transfer_id="first")
    for _ in range(3):
        assert store.credits.hold("m1", "ann", 2)
        assert store.credits.balance("ann") == 0
        assert store.credits.release("m1")
        assert not store.credits.release("m1")
        assert store.credits.balance("ann") == 2
    assert store.credits.hold("m1", "ann", 1), "after a release the amount may differ"
    assert store.publish(outgoing("m1"))
    assert store.credits.balance("ann") == 1
    assert not store.credits.release("never held")


def test_too_few_credits_change_nothing(store: WakeStore) -> None:
    """An unknown agent has 0, which is enough for a free reply."""
    store.credits.grant("ann", 1, transfer_id="first")
    before = legs(store)
    assert not store.credits.hold("m1", "ann", 2)
    assert not store.credits.hold("m2", "stranger", 1)
    assert legs(store) == before
    assert store.credits.hold("m2", "stranger", 0)
    assert store.publish(outgoing("m2", "stranger"))


@pytest.mark.parametrize("ended", [False, True])
def test_a_message_without_an_open_hold_is_not_published(store: WakeStore, ended: bool) -> None:
    """Neither the message nor its notes are stored."""
    if ended:
        store.credits.hold("m1", "ann", 0)
        store.credits.release("m1")
    with pytest.raises(StoreFailed, match=r"message 'm1' has (no|a) hold.* Hold its credits first"):
        store.publish(outgoing("m1"), notes=["likes tea"])
    assert store.rooms.undelivered() == 0
    assert store.notes.search("ann", "", limit=9) == []


@pytest.mark.parametrize("amount", [-1, 1.5, True, float("nan"), MAX_CREDITS + 1, 10**30, "1"])
def test_credits_are_whole_numbers_from_0(store: WakeStore, amount) -> None:
    """The error names the number and the range."""
    with pytest.raises(ConfigError, match=f"credits: .*whole number from 0 to {MAX_CREDITS}"):
        store.credits.grant("ann", amount, transfer_id="first")
    with pytest.raises(ConfigError, match="credits: "):
        store.credits.hold("m1", "ann", amount)
    assert legs(store) == []


def test_any_name_is_a_name(store: WakeStore, odd_name: str) -> None:
    """Quotes, line breaks, paths and nulls are stored as they are."""
    assert store.credits.grant(odd_name, 2, transfer_id=odd_name)
    assert store.credits.hold(odd_name, odd_name, 1)
    assert store.credits.open_holds() == [odd_name]
    assert store.credits.balance(odd_name) == 1
    assert store.credits.release(odd_name)
    assert store.credits.balance(odd_name) == 2


def test_bad_names_are_refused(store: WakeStore, bad_name: str) -> None:
    """Of receivers, transfers and messages."""
    for wrong in (
        lambda: store.credits.grant(bad_name, 1, transfer_id="first"),
        lambda: store.credits.grant("ann", 1, transfer_id=bad_name),
        lambda: store.credits.hold(bad_name, "ann", 0),
        lambda: store.credits.hold("m1", bad_name, 0),
        lambda: store.credits.release(bad_name),
        lambda: store.credits.balance(bad_name),
    ):
        with pytest.raises(ConfigError, match=r"Use (1 to 1000|whole characters)"):
            wrong()
    assert legs(store) == []


def test_no_agent_is_the_issuer(store: WakeStore) -> None:
    """The issuer alone may be below 0, and what is spent stays spent."""
    for name in (":issuer", ":spent", ":held"):
        with pytest.raises(ConfigError, match="begins with a colon"):
            store.credits.hold("m1", name, 1)


@pytest.mark.parametrize("table", ["credit_transfers", "credit_legs"])
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE {} SET credits = credits + 1",
        "DELETE FROM {}",
        "INSERT OR REPLACE INTO {} SELECT * FROM {} LIMIT 1",
    ],
)
def test_the_database_itself_refuses_changes(store: WakeStore, table: str, change: str) -> None:
    """Transfers and legs are append-only."""
    store.credits.grant("ann", 3, transfer_id="first")
    before = legs(store)
    with pytest.raises(sqlite3.IntegrityError, match=r"append-only|not one of its transfer"):
        store._file._connection.execute(change.format(table, table))
    assert legs(store) == before


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("'hold', 'm1', 0, 'ann', ':held', 4", "CHECK constraint failed: balance >= 0"),
        ("'hold', 'm1', 0, ':issuer', ':issuer', 4", "CHECK constraint failed: target <> source"),
        ("'grant', 'first', 0, ':issuer', 'ann', 1", "UNIQUE constraint failed"),
        ("'grant', 'm1', 0, ':issuer', 'ann', -1", "CHECK constraint failed: credits"),
        ("'gift', 'm1', 0, ':issuer', 'ann', 1", "CHECK constraint failed: kind"),
        ("'release', 'done', 0, ':held', 'ann', 1", "UNIQUE constraint failed"),
    ],
)
def test_the_database_itself_refuses_wrong_transfers(
    store: WakeStore, row: str, problem: str
) -> None:
    """An overdraft, a transfer to itself, a second grant, a negative one, a second end."""
    store.credits.grant("ann", 4, transfer_id="first")
    store.credits.hold("done", "ann", 1)
    store.publish(outgoing("done"))
    before = legs(store)
    with pytest.raises(sqlite3.IntegrityError, match=problem):
        store._file._connection.execute(
            "INSERT INTO credit_transfers (kind, id, attempt, source, target, credits) "  # noqa: S608
            f"VALUES ({row})"
        )
    assert legs(store) == before


def test_the_database_itself_refuses_a_leg_without_its_transfer(store: WakeStore) -> None:
    """Also one with a wrong balance, for an agent that has no part in the transfer."""
    store.credits.grant("ann", 4, transfer_id="first")
    for row in ("'bob', 1, 4, 4", "'bob', 2, 4, 4", "'ann', 2, 1, 5"):
        with pytest.raises(sqlite3.IntegrityError, match="not one of its transfer"):
            store._file._connection.execute(f"INSERT INTO credit_legs VALUES ({row})")  # noqa: S608


class CreditMachine(RuleBasedStateMachine):
    """Grants, holds, ends and crashes in any order, through either of two connections."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "wake.sqlite"
        self._stores = [WakeStore(self._path), WakeStore(self._path)]
        self.balances = {"ann": 0, "bob": 0}
        self.granted: dict[str, tuple[str, int]] = {}
        self.held: dict[str, tuple[str, int]] = {}
        self.spent: dict[str, tuple[str, int]] = {}

    @property
    def store(self) -> WakeStore:
        """Return one connection and then the other."""
        self._stores.reverse()
        return self._stores[0]

    def teardown(self) -> None:
        """Release the file."""
        for store in self._stores:
            store.close()
        self._folder.cleanup()

    @rule(agent=st.sampled_from(["ann", "bob"]), amount=st.integers(0, 5), number=st.integers(0, 9))
    def grant(self, agent: str, amount: int, number: int) -> None:
        """A grant of a new id is given, and no other."""
        transfer_id = f"g{number}"
        earlier = self.granted.get(transfer_id)
        if earlier not in (None, (agent, amount)):
            with pytest.raises(ConfigError):
                self.store.credits.grant(agent, amount, transfer_id=transfer_id)
            return
        assert self.store.credits.grant(agent, amount, transfer_id=transfer_id) is (not earlier)
        if not earlier:
            self.balances[agent] += amount
            self.granted[transfer_id] = (agent, amount)

    @rule(agent=st.sampled_from(["ann", "bob"]), amount=st.integers(0, 5), number=st.integers(0, 5))
    def hold(self, agent: str, amount: int, number: int) -> None:
        """A hold takes what is there, once."""
        message_id = f"m{number}"
        earlier = self.held.get(message_id) or self.spent.get(message_id)
        if earlier not in (None, (agent, amount)):
            with pytest.raises(ConfigError):
                self.store.credits.hold(message_id, agent, amount)
            return
        is_enough = earlier is not None or self.balances[agent] >= amount
        assert self.store.credits.hold(message_id, agent, amount) is is_enough
        if is_enough and earlier is None:
            self.balances[agent] -= amount
            self.held[message_id] = (agent, amount)

    @rule(number=st.integers(0, 5))
    def release(self, number: int) -> None:
        """Only open holds are given back."""
        message_id = f"m{number}"
        assert self.store.credits.release(message_id) is (message_id in self.held)
        agent, amount = self.held.pop(message_id, ("ann", 0))
        self.balances[agent] += amount

    @rule(number=st.integers(0, 5))
    def publish(self, number: int) -> None:
        """A message is published once, and only with an open hold."""
        message_id = f"m{number}"
        if message_id in self.held:
            assert self.store.publish(outgoing(message_id))
            self.spent[message_id] = self.held.pop(message_id)
        elif message_id in self.spent:
            assert not self.store.publish(outgoing(message_id))
        else:
            with pytest.raises(StoreFailed):
                self.store.publish(outgoing(message_id))

    @rule()
    def crash(self) -> None:
        """The next process finds everything."""
        self._stores[0].close()
        self._stores[0] = WakeStore(self._path)

    @invariant()
    def credits_are_conserved(self) -> None:
        """Balances are those of the model; legs sum to 0, each transfer's and all together."""
        store = self.store
        assert {name: store.credits.balance(name) for name in self.balances} == self.balances
        assert sorted(store.credits.open_holds()) == sorted(self.held)
        assert store.credits.total() == 0
        sums: dict[int, int] = {}
        for transfer, account, amount, balance in legs(store):
            sums[transfer] = sums.get(transfer, 0) + amount
            assert balance >= 0 or account == ":issuer"
        assert not any(sums.values())
        assert len(legs(store)) == 2 * len(sums)


CreditMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestCredits = CreditMachine.TestCase


def spend_all(stores: Sequence[WakeStore], name: str, *, threads: int, replies: int) -> int:
    """Let threads ask for replies of one agent, and return how many were published."""

    def ask(number: int) -> int:
        store = stores[number % len(stores)]
        published = 0
        for reply in range(replies):
            message_id = f"{name}-{number}-{reply}"
            if store.credits.hold(message_id, "ann", 1):
                published += store.publish(outgoing(message_id))
            assert store.credits.balance("ann") >= 0
        return published

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(ask, range(threads)))


def check_all_spent(path: Path, published: int) -> None:
    """Check that exactly 100 credits are spent, and no leg was ever below 0."""
    with WakeStore(path) as store:
        assert published == store.rooms.undelivered() == 100
        assert (store.credits.balance("ann"), store.credits.total()) == (0, 0)
        rows = legs(store)
    assert sum(amount for _, account, amount, _ in rows if account == ":spent") == 100
    assert min(balance for _, account, _, balance in rows if account != ":issuer") == 0


@pytest.mark.slow
def test_64_threads_spend_exactly_what_is_there(path: Path) -> None:
    """They share four connections, as threads of four processes would."""
    with ExitStack() as stack:
        stores = [stack.enter_context(WakeStore(path)) for _ in range(4)]
        stores[0].credits.grant("ann", 100, transfer_id="first")
        published = spend_all(stores, "t", threads=64, replies=3)
    check_all_spent(path, published)


_PROCESS = """
import sys
from callwise.wake import WakeStore
from tests.callwise.wake.test_credits import spend_all
name, path = sys.argv[1:]
with WakeStore(path) as store:
    print(spend_all([store], name, threads=64, replies=3))
"""


@pytest.mark.slow
def test_4_processes_of_64_threads_spend_exactly_what_is_there(path: Path) -> None:
    """No process fails because another one writes; they also make the file concurrently."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(  # noqa: S603 - our own program
                    [sys.executable, "-c", _PROCESS, str(number), str(path)],
                    stdout=subprocess.PIPE,
                    cwd=REPOSITORY,
                )
            )
            for number in range(4)
        ]
        with WakeStore(path) as store:
            store.credits.grant("ann", 100, transfer_id="first")
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    check_all_spent(path, sum(map(int, outputs)))
