"""Outbox and log: each message once, numbered without gaps, whatever happens in between."""

import math
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from callwise.calls.errors import ConfigError
from callwise.memory.memory_errors import StoreDamaged
from callwise.wake import OutgoingMessage, RoomMessage, WakeStore


def publish(store: WakeStore, message_id: str, due_at: float = 1.0, place: str = "main") -> bool:
    """Publish a free message of ann."""
    store.credits.hold(message_id, "ann", 0)
    return store.publish(OutgoingMessage(message_id, place, "ann", f"text {message_id}", due_at))


def ids(messages: list[RoomMessage]) -> list[str]:
    """Return the ids of messages."""
    return [message.id for message in messages]


def test_messages_appear_when_they_are_due(store: WakeStore) -> None:
    """They are numbered in the order of their times, each chat from 1 on."""
    publish(store, "late", 9.0)
    publish(store, "second", 2.0)
    publish(store, "first", 1.0)
    publish(store, "other", 2.0, "side")
    assert store.rooms.deliver_due(0.5) == []
    assert (store.rooms.next_due(), store.rooms.undelivered()) == (1.0, 4)
    assert store.rooms.deliver_due(2.0) == [
        RoomMessage("first", "main", 1, "ann", "text first", 2.0),
        RoomMessage("second", "main", 2, "ann", "text second", 2.0),
        RoomMessage("other", "side", 1, "ann", "text other", 2.0),
    ]
    assert store.rooms.deliver_due(2.0) == []
    assert (store.rooms.next_due(), store.rooms.undelivered()) == (9.0, 1)
    assert ids(store.rooms.deliver_due(1e12)) == ["late"]
    assert store.rooms.next_due() is None
    assert ids(store.rooms.messages("main")) == ["first", "second", "late"]


def test_messages_may_be_delivered_a_few_at_a_time(store: WakeStore) -> None:
    """The earliest first; the others stay in the outbox."""
    for number, due_at in enumerate((3.0, 1.0, 2.0)):
        publish(store, f"m{number}", due_at)
    assert ids(store.rooms.deliver_due(5.0, limit=2)) == ["m1", "m2"]
    assert store.rooms.undelivered() == 1
    assert ids(store.rooms.deliver_due(5.0, limit=2)) == ["m0"]
    assert store.rooms.deliver_due(5.0, limit=2) == []
    with pytest.raises(ConfigError, match="the limit of messages: -1"):
        store.rooms.deliver_due(5.0, limit=-1)


def test_a_message_is_published_once(store: WakeStore) -> None:
    """Before and after it is delivered; another author's message needs another id."""
    assert publish(store, "m1")
    assert not publish(store, "m1")
    store.rooms.deliver_due(1.0)
    assert not publish(store, "m1", 5.0)
    assert store.rooms.undelivered() == 0
    with pytest.raises(ConfigError, match="'m1' is that of another message"):
        publish(store, "m1", place="side")
    assert store.rooms.has_message("m1")
    assert not store.rooms.has_message("m2")


def test_a_person_is_read_immediately(store: WakeStore) -> None:
    """The same message again is the one in the log."""
    said = store.rooms.say("main", "eve", "hello", id="p1", at=3.0)
    assert said == RoomMessage("p1", "main", 1, "eve", "hello", 3.0)
    assert store.rooms.say("main", "eve", "hello", id="p1", at=4.0) == said
    assert store.rooms.messages("main") == [said]
    assert store.rooms.has_message("p1")


def test_an_id_of_another_message_is_refused(store: WakeStore) -> None:
    """Nothing is lost silently: the error asks for another id."""
    store.rooms.say("main", "eve", "hello", id="p1", at=3.0)
    publish(store, "m1")
    for place, author, text, message_id in (
        ("side", "eve", "hello", "p1"),
        ("main", "bob", "hello", "p1"),
        ("main", "eve", "goodbye", "p1"),
        ("main", "ann", "text m1", "m1"),
    ):
        with pytest.raises(ConfigError, match="Give each message its own id"):
            store.rooms.say(place, author, text, id=message_id, at=3.0)
    assert ids(store.rooms.messages("main")) == ["p1"]
    with pytest.raises(ConfigError, match="Give each message its own id"):
        publish(store, "p1")


def test_a_part_of_the_log_is_read(store: WakeStore) -> None:
    """After a number, since a time, the first or the last ones."""
    for number in range(1, 8):
        store.rooms.say("main", "eve", "x", id=f"p{number}", at=float(number))
    read = store.rooms.messages
    assert ids(read("main", after=5)) == ["p6", "p7"]
    assert ids(read("main", since=6.0)) == ["p6", "p7"]
    assert ids(read("main", after=1, since=2.5, limit=2)) == ["p3", "p4"]
    assert ids(read("main", after=1, limit=2, newest=True)) == ["p6", "p7"]
    assert read("main", limit=0) == read("main", after=7) == read("nowhere") == []


def test_messages_of_one_occasion_are_found(store: WakeStore) -> None:
    """Those whose ids differ in their last part, and no others, whatever their agents write."""
    for name in ("main:5:b", "main:5:a", "main:50:a", "main:5:a:c", "main:5", "other:5:a"):
        store.rooms.say("main", name[-1], "Hello.", id=name, at=1.0)
    assert ids(store.rooms.of_occasion("main:5:a")) == ["main:5:b", "main:5:a"]
    assert ids(store.rooms.of_occasion("other:5:a")) == ["other:5:a"]
    for unknown in ("main:5:z", "main", "", "main:%:a", "main:\ud83d:a", "x" * 10_000):
        assert store.rooms.of_occasion(unknown) == []


@pytest.mark.parametrize("wrong", [-1, 1.5, True, 10**30])
def test_numbers_are_whole_and_from_0(store: WakeStore, wrong) -> None:
    """Of places, limits and acknowledgements."""
    for call in (
        lambda: store.rooms.messages("main", after=wrong),
        lambda: store.rooms.messages("main", limit=wrong),
        lambda: store.rooms.acknowledge("tab", "main", wrong),
    ):
        with pytest.raises(ConfigError, match="Use a whole number from 0"):
            call()


@pytest.mark.parametrize(
    "wrong", [math.nan, math.inf, -math.inf, 10**400], ids=["nan", "inf", "-inf", "big"]
)
def test_times_are_finite(store: WakeStore, wrong: float) -> None:
    """A message that is never due, or has no time, is refused."""
    store.credits.hold("m1", "ann", 0)
    for call in (
        lambda: store.publish(OutgoingMessage("m1", "main", "ann", "x", wrong)),
        lambda: store.rooms.say("main", "eve", "x", id="p1", at=wrong),
        lambda: store.rooms.deliver_due(wrong),
        lambda: store.rooms.messages("main", since=wrong),
    ):
        with pytest.raises(ConfigError, match=r"is (nan|-?inf)\. Use seconds since 1970"):
            call()
    assert not store.rooms.has_message("m1")
    assert not store.rooms.has_message("p1")
    assert store.credits.open_holds() == ["m1"]


def test_a_client_acknowledges_what_it_has(store: WakeStore) -> None:
    """An earlier number that comes late changes nothing, and the future cannot be acknowledged."""
    for number in range(3):
        store.rooms.say("main", "eve", "x", id=f"p{number}", at=1.0)
    assert store.rooms.acknowledged("tab", "main") == 0
    for number, known in ((0, 0), (2, 2), (1, 2), (3, 3)):
        store.rooms.acknowledge("tab", "main", number)
        assert store.rooms.acknowledged("tab", "main") == known
    with pytest.raises(ConfigError, match="'tab' acknowledges message 4 of 3"):
        store.rooms.acknowledge("tab", "main", 4)
    assert store.rooms.acknowledged("tab", "side") == store.rooms.acknowledged("app", "main") == 0


TEXTS = ("", "x" * 1_000_000, "half \ud83d", "nul\x00nul", "</script>'; --\u202e\r\n", "值😀" * 9)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_any_text_comes_back_as_it_went(store: WakeStore, text: str) -> None:
    """An empty one, a megabyte, half an emoji, a null, markup, other scripts."""
    store.rooms.say("main", "eve", text, id="p1", at=1.0)
    store.credits.hold("m1", "ann", 0)
    store.publish(OutgoingMessage("m1", "main", "ann", text, 1.0), notes=[text])
    assert [message.text for message in store.rooms.deliver_due(1.0)] == [text]
    assert [message.text for message in store.rooms.messages("main")] == [text, text]
    assert store.notes.search("ann", text, limit=9) == [text]


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
"""Texts with half characters as well."""


@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT), max_size=8))
def test_any_message_is_stored_or_refused(fields: list[tuple[str, str, str, str]]) -> None:
    """A message comes back as it went, or its name or id is an error, and nothing else happens."""
    with WakeStore(":memory:") as store:
        stored = []
        for place, author, text, message_id in fields:
            try:
                said = store.rooms.say(place, author, text, id=message_id, at=1.0)
            except ConfigError:
                continue
            assert (said.room, said.author, said.text, said.id) == (place, author, text, message_id)
            stored.append(said)
        for place in {message.room for message in stored}:
            expected = {each.sequence: each for each in stored if each.room == place}
            assert {each.sequence: each for each in store.rooms.messages(place)} == expected


def test_a_damaged_text_is_an_error(store: WakeStore) -> None:
    """Bytes that are no text, in a file that something else has written."""
    store._file._connection.execute(
        "INSERT INTO room_log VALUES ('main', 1, 'p1', 'eve', x'ff', 1.0)"
    )
    with pytest.raises(StoreDamaged, match="a text in the store is damaged"):
        store.rooms.messages("main")


def test_any_name_is_the_name_of_a_chat(store: WakeStore, odd_name: str) -> None:
    """Quotes, line breaks, paths and nulls are stored as they are, and mix with no other."""
    said = store.rooms.say(odd_name, odd_name, "x", id=odd_name, at=1.0)
    assert said == RoomMessage(odd_name, odd_name, 1, odd_name, "x", 1.0)
    store.rooms.say(odd_name[:1], "eve", "x", id="p1", at=1.0)
    assert store.rooms.messages(odd_name) == [said]
    store.rooms.acknowledge(odd_name, odd_name, 1)
    assert store.rooms.acknowledged(odd_name, odd_name) == 1


def test_bad_names_of_messages_are_refused(store: WakeStore, bad_name: str) -> None:
    """Of ids, chats, authors and clients; nothing is stored."""
    for fields in ((bad_name, "main", "eve"), ("p1", bad_name, "eve"), ("p1", "main", bad_name)):
        message_id, place, author = fields
        with pytest.raises(ConfigError):
            store.rooms.say(place, author, "x", id=message_id, at=1.0)
        with pytest.raises(ConfigError):
            store.publish(OutgoingMessage(*fields, "x", 1.0))
    for call in (
        lambda: store.rooms.acknowledge(bad_name, "main", 0),
        lambda: store.rooms.acknowledge("tab", bad_name, 0),
        lambda: store.rooms.acknowledged(bad_name, "main"),
        lambda: store.rooms.acknowledged("tab", bad_name),
        lambda: store.rooms.messages(bad_name),
        lambda: store.rooms.has_message(bad_name),
    ):
        with pytest.raises(ConfigError):
            call()
    assert store.rooms.undelivered() == 0
    assert store.rooms.messages("main") == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE room_log SET text = x'00'",
        "DELETE FROM room_log",
        "INSERT OR REPLACE INTO room_log SELECT * FROM room_log",
        "INSERT INTO room_log VALUES ('main', 3, 'p9', 'eve', x'00', 1.0)",
        "INSERT INTO room_log VALUES ('main', 1, 'p9', 'eve', x'00', 1.0)",
        "INSERT INTO room_log VALUES ('main', 2, 'p1', 'eve', x'00', 1.0)",
    ],
)
def test_the_database_itself_refuses_gaps_and_changes(store: WakeStore, change: str) -> None:
    """The log is append-only, each number is the next one, and each id is there once."""
    said = store.rooms.say("main", "eve", "x", id="p1", at=1.0)
    with pytest.raises(sqlite3.IntegrityError):
        store._file._connection.execute(change)
    assert store.rooms.messages("main") == [said]


class LogMachine(RuleBasedStateMachine):
    """Publishing, delivering, speaking, reading and crashes in any order, in two processes."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "wake.sqlite"
        self._stores = [WakeStore(self._path), WakeStore(self._path)]
        self.outbox: dict[str, tuple[str, float]] = {}
        self.log: dict[str, list[str]] = {"main": [], "side": []}
        self.read: dict[str, list[str]] = {"main": [], "side": []}

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

    def is_known(self, message_id: str) -> bool:
        """Return whether a message is in the outbox or a log of the model."""
        return message_id in self.outbox or any(message_id in log for log in self.log.values())

    @rule(number=st.integers(0, 30), place=st.sampled_from(["main", "side"]), due=st.integers(0, 9))
    def publish(self, number: int, place: str, due: int) -> None:
        """A new message is in the outbox; a known one changes nothing."""
        message_id = f"{place}{number}"
        is_new = not self.is_known(message_id)
        assert publish(self.store, message_id, due, place) is is_new
        if is_new:
            self.outbox[message_id] = (place, float(due))

    @rule(number=st.integers(0, 9), place=st.sampled_from(["main", "side"]))
    def say(self, number: int, place: str) -> None:
        """A person's message is in the log once."""
        message_id = f"p{place}{number}"
        said = self.store.rooms.say(place, "eve", "x", id=message_id, at=1.0)
        if not self.is_known(message_id):
            self.log[place].append(message_id)
        assert said.sequence == self.log[place].index(message_id) + 1

    @rule(now=st.integers(-1, 9))
    def deliver(self, now: int) -> None:
        """All that is due, and nothing else, by time and then in the order of publishing."""
        due = sorted((at, place) for place, (_, at) in enumerate(self.outbox.values()) if at <= now)
        names = list(self.outbox)
        expected = [names[place] for _, place in due]
        assert ids(self.store.rooms.deliver_due(now)) == expected
        for message_id in expected:
            self.log[self.outbox.pop(message_id)[0]].append(message_id)

    @rule(place=st.sampled_from(["main", "side"]), limit=st.none() | st.integers(1, 3))
    def reconnect(self, place: str, limit: int | None) -> None:
        """A client that asks for what follows its last number has no gap and no double."""
        last = self.store.rooms.acknowledged("tab", place)
        assert last == len(self.read[place])
        found = self.store.rooms.messages(place, after=last, limit=limit)
        self.read[place] += ids(found)
        assert self.read[place] == self.log[place][: len(self.read[place])]
        if found:
            self.store.rooms.acknowledge("tab", place, found[-1].sequence)

    @rule()
    def crash(self) -> None:
        """The next process finds everything."""
        self._stores[0].close()
        self._stores[0] = WakeStore(self._path)

    @invariant()
    def each_message_is_there_once(self) -> None:
        """In the outbox or in a log, numbered from 1 on."""
        store = self.store
        for place, expected in self.log.items():
            found = store.rooms.messages(place)
            assert ids(found) == expected
            assert [each.sequence for each in found] == list(range(1, len(expected) + 1))
        assert store.rooms.undelivered() == len(self.outbox)
        times = [at for _, at in self.outbox.values()]
        assert store.rooms.next_due() == min(times, default=None)


LogMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestLog = LogMachine.TestCase
