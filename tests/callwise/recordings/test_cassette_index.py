"""The queues that say which exchange answers a call."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from callwise.recordings.cassette_index import CassetteIndex

KEYS = [bytes([number]) * 32 for number in range(3)]
LANES = [bytes([number]) * 8 for number in range(3)]

ENTRY = st.tuples(st.sampled_from(KEYS), st.sampled_from(LANES))


def index_of(*entries: tuple[bytes, bytes], start: int = 10, length: int = 7) -> CassetteIndex:
    """Return an index of entries of one length."""
    index = CassetteIndex()
    index.start_at(start)
    for key, lane in entries:
        index.add(key, lane, length)
    return index


def test_own_scope_first_then_any() -> None:
    """A call takes from its own scope's queue, then from the key's, oldest first."""
    key = KEYS[0]
    index = index_of((key, LANES[0]), (key, LANES[1]), (key, LANES[1]), (KEYS[1], LANES[0]))

    assert [index.take(key, LANES[1]) for _ in range(4)] == [1, 2, 0, None]
    assert index.left_count == 1
    assert index.contains(key)
    assert not index.contains(KEYS[2])


def test_places() -> None:
    """Entries follow each other from the start on."""
    index = index_of((KEYS[0], LANES[0]), (KEYS[1], LANES[0]), start=45, length=9)

    assert [index.place(0), index.place(1), index.end] == [(45, 9), (54, 9), 63]
    assert index_of(start=45).end == 45


def test_entries_of_a_lane() -> None:
    """A scope's entries are found even where its digest also occurs across two others."""
    lane, decoy = b"\x01\x02\x03\x04\x01\x02\x03\x04", b"\x00\x00\x00\x00\x01\x02\x03\x04"
    tail = b"\x01\x02\x03\x04\x00\x00\x00\x00"
    index = index_of((KEYS[0], decoy), (KEYS[0], tail), (KEYS[1], lane), (KEYS[2], lane))

    assert list(index.entries_of(lane)) == [2, 3]


@given(recorded=st.lists(ENTRY, max_size=30), asked=st.lists(ENTRY, max_size=40))
def test_takes_like_the_plain_model(
    recorded: list[tuple[bytes, bytes]], asked: list[tuple[bytes, bytes]]
) -> None:
    """The rings take what scanning a list from the top would take, and each entry once."""
    index = index_of(*recorded)
    left = dict(enumerate(recorded))

    for key, lane in asked:
        own = [entry for entry, found in left.items() if found == (key, lane)]
        others = [entry for entry, found in left.items() if found[0] == key]
        expected = next(iter(own + others), None)
        assert index.take(key, lane) == expected
        left.pop(expected, None)
    assert index.left_count == len(left)


@given(recorded=st.lists(ENTRY, max_size=30), data=st.data())
def test_any_interleaving_gives_each_scope_its_own(
    recorded: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    """However scopes interleave, each call gets its own scope's exchanges, in order."""
    waiting: dict[tuple[bytes, bytes], list[int]] = defaultdict(list)
    for entry, found in enumerate(recorded):
        waiting[found].append(entry)
    index = index_of(*recorded)

    for key, lane in data.draw(st.permutations(recorded)):
        assert index.take(key, lane) == waiting[key, lane].pop(0)
