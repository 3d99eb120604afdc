"""The queue on disk: what is accepted, submitted, answered and taken, whatever the order."""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from callwise.budget.batch_api.store import Kept, KeptSubmission, QueuedCall, QueueStore
from callwise.calls.errors import ConfigError, FormatError
from callwise.calls.key import CallKey


class QueueMachine(RuleBasedStateMachine):
    """Callers, batches and crashes in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.store = self.opened()
        self.claimed: dict[int, str] = {}
        self.left: dict[str, set[int]] = {"a": set(), "b": set()}
        self.answered: dict[int, bytes] = {}
        self.open: dict[int, KeptSubmission] = {}
        self.taken: set[int] = set()

    def opened(self) -> QueueStore:
        """Return the store of a process that has just begun."""
        return QueueStore(Path(self._folder.name) / "queue.sqlite")

    def teardown(self) -> None:
        """Release the file."""
        self.store.close()
        self._folder.cleanup()

    @rule(key=st.sampled_from("ab"))
    def ask(self, key: str) -> None:
        """A call that is free is taken before a new one is made, and never one of another."""
        (kept,) = self.store.accept([QueuedCall("e", CallKey(key), "/chat", b"{}")])
        assert kept.call_id not in self.claimed
        assert kept.call_id not in self.taken
        if self.left[key]:
            assert kept.call_id == min(self.left[key])
        self.left[key].discard(kept.call_id)
        self.claimed[kept.call_id] = key
        assert (kept.state == "answered") is (kept.call_id in self.answered)
        assert kept.result == self.answered.get(kept.call_id)

    @rule()
    def submit(self) -> None:
        """All claimed calls are chosen; those that do not wait are left out."""
        submission = self.store.submit("e", "m", "/chat", list(self.claimed))
        self.open[submission.submission_id] = submission

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """Some lines come back, and the others wait again."""
        if not self.open:
            return
        submission_id = data.draw(st.sampled_from(sorted(self.open)))
        lines = self.store.lines(submission_id)
        done = data.draw(st.sets(st.sampled_from(sorted(lines)))) if lines else set()
        results = {call_id: b"[%d]" % call_id for call_id in done}
        assert not self.answered.keys() & results.keys(), "a line is answered once"
        self.store.end(submission_id, results)
        self.answered |= results
        del self.open[submission_id]

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A caller is cancelled: what only waited is deleted, what was submitted is kept."""
        if not self.claimed:
            return
        call_id = data.draw(st.sampled_from(sorted(self.claimed)))
        (kept,) = self.store.kept([call_id])
        self.store.release([call_id])
        key = self.claimed.pop(call_id)
        if kept.state != "waiting":
            self.left[key].add(call_id)

    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        """An answer was given out: it is given to nothing else."""
        given = sorted(self.claimed.keys() & self.answered.keys())
        if given:
            call_id = data.draw(st.sampled_from(given))
            self.store.take([call_id])
            del self.claimed[call_id], self.answered[call_id]
            self.taken.add(call_id)

    @rule()
    def crash(self) -> None:
        """The next process finds every call and submission."""
        self.store.close()
        self.store = self.opened()
        for call_id, key in self.claimed.items():
            self.left[key].add(call_id)
        self.claimed.clear()

    @invariant()
    def nothing_is_lost(self) -> None:
        """Every call is on disk, and in one submission at most."""
        ids = [*self.claimed, *self.left["a"], *self.left["b"]]
        kept = {each.call_id: each for each in self.store.kept(ids)}
        assert sorted(kept) == sorted(ids)
        found = [each.submission_id for each in self.store.submissions("e")]
        assert found == sorted(self.open)
        lines = [call_id for each in self.open for call_id in self.store.lines(each)]
        assert len(lines) == len(set(lines))
        assert set(lines) == {each for each in ids if _is_submitted(kept[each])}


def _is_submitted(kept: Kept) -> bool:
    return kept.state == "submitted"


QueueMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestQueue = QueueMachine.TestCase


def test_a_queue_of_another_version_is_refused(tmp_path: Path) -> None:
    """As a later Callwise may write it; the file is left as it is."""
    path = tmp_path / "queue.sqlite"
    store = QueueStore(path)
    store._connection.execute("UPDATE about SET value = '99' WHERE name = 'version'")
    store.close()
    with pytest.raises(FormatError, match="expected a queue of version 1; choose another file"):
        QueueStore(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT value FROM about WHERE name = 'version'").fetchall() == [
            ("99",)
        ]


def test_a_write_that_fails_half_way_writes_nothing(tmp_path: Path) -> None:
    """A call and the state of its submission change together."""
    store = QueueStore(tmp_path / "queue.sqlite")
    (kept,) = store.accept([QueuedCall("e", CallKey("a"), "/chat", b"{}")])
    submission = store.submit("e", "m", "/chat", [kept.call_id])
    with pytest.raises(ConfigError):
        store.end(submission.submission_id, {kept.call_id: b"answer", object(): b"x"})  # type: ignore[dict-item]
    assert store.kept([kept.call_id])[0].state == "submitted"
    assert [each.state for each in store.submissions("e")] == ["prepared"]
    store.close()
