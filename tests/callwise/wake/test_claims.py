"""Claims: one more of a day's quota, and one scheduler per hour."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.calls.errors import ConfigError
from callwise.wake import WakeStore, claims


def test_a_quota_is_of_a_day(store: WakeStore) -> None:
    """It ends at its limit, and the next day and other quotas have their own."""
    assert [store.claims.take_quota("intent", "2026-02-15", 2) for _ in range(3)] == [
        True,
        True,
        False,
    ]
    assert store.claims.quota_left("intent", "2026-02-15", 2) == 0
    assert store.claims.quota_left("intent", "2026-02-16", 2) == 2
    assert store.claims.take_quota("intent", "2026-02-16", 2)
    assert store.claims.take_quota("other", "2026-02-15", 2)


def test_the_limit_may_change_during_a_day(store: WakeStore) -> None:
    """A higher one leaves more, and one below the used leaves 0."""
    for _ in range(3):
        store.claims.take_quota("intent", "today", 3)
    assert store.claims.quota_left("intent", "today", 5) == 2
    assert store.claims.quota_left("intent", "today", 2) == 0
    assert not store.claims.take_quota("intent", "today", 2)
    assert store.claims.take_quota("intent", "today", 4)
    assert not store.claims.take_quota("intent", "new", 0)


def test_claims_outlive_their_process(path: Path) -> None:
    """A restart neither renews a quota nor wakes an hour again."""
    for number in range(3):
        with WakeStore(path) as store:
            assert store.claims.take_quota("intent", "today", 2) is (number < 2)
            assert store.claims.claim_slot("main", 7) is (number == 0)


@given(st.lists(st.integers(0, 20) | st.integers(0, 2**53), max_size=20))
def test_a_slot_is_claimed_once(slots: list[int]) -> None:
    """In any order: a clock that is set back claims none again; one far ahead ends none."""
    with WakeStore(":memory:") as store:
        for number, slot in enumerate(slots):
            assert store.claims.claim_slot("main", slot) is (slot not in slots[:number])


def test_a_room_takes_no_slot_of_another(store: WakeStore) -> None:
    """Neither by its claims, nor by its leases, nor where it keeps no more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "MAX_CLAIMED", 2)
        for slot in (7, 8, 9):
            assert store.claims.claim_slot("a", slot, until=5.0)
        for slot in (7, 8):
            assert store.claims.claim_slot("b", slot, until=6.0)
    assert [store.claims.leased_until(room, 8) for room in ("a", "b", "c")] == [5.0, 6.0, None]
    assert store.claims.lease_slot("b", 8, None)
    assert [store.claims.leased_until(room, 8) for room in ("a", "b")] == [5.0, None]
    assert not store.claims.lease_slot("c", 8, 9.0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=40))
def test_a_slot_that_is_kept_no_more_is_not_claimed_again(slots: list[int]) -> None:
    """The latest are kept, and none before all of them is given."""
    with WakeStore(":memory:") as store, pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "MAX_CLAIMED", 4)
        given_slots = [slot for slot in slots if store.claims.claim_slot("main", slot)]
        assert len(given_slots) == len(set(given_slots))
        assert store.claims.claim_slot("main", 13)
        if len(given_slots) >= 4:
            assert not any(
                store.claims.claim_slot("main", slot) for slot in range(min(given_slots) + 1)
            )


LEASES = st.one_of(
    st.tuples(st.just("claim"), st.integers(0, 3), st.none() | st.integers(0, 9)),
    st.tuples(st.just("renew"), st.integers(0, 3), st.none() | st.integers(0, 9)),
    st.tuples(st.just("take over"), st.integers(0, 3), st.integers(0, 9)),
)


@given(st.lists(LEASES, max_size=20))
def test_the_work_of_a_slot_is_taken_over_once_its_lease_has_ended(
    changes: list[tuple[str, int, int | None]],
) -> None:
    """Until it has ended; the slot stays claimed."""
    leases: dict[int, int | None] = {}
    with WakeStore(":memory:") as store:
        for what, slot, time in changes:
            lease = leases.get(slot)
            if what == "claim":
                assert store.claims.claim_slot("main", slot, until=time) is (slot not in leases)
                leases.setdefault(slot, time)
            elif what == "renew":
                assert store.claims.lease_slot("main", slot, time) is (lease is not None)
                if lease is not None:
                    leases[slot] = time
            else:
                assert time is not None
                is_free = lease is not None and lease <= time
                assert store.claims.lease_slot("main", slot, time + 3, after=time) is is_free
                if is_free:
                    leases[slot] = time + 3
            assert store.claims.leased_until("main", slot) == leases.get(slot)


def test_one_of_many_takes_a_lease_over(path: Path) -> None:
    """Of 16 threads over four connections."""
    with ExitStack() as stack, ThreadPoolExecutor(16) as pool:
        stores = [stack.enter_context(WakeStore(path)) for _ in range(4)]
        assert stores[0].claims.claim_slot("main", 9, until=100.0)
        taken = list(
            pool.map(
                lambda number: stores[number % 4].claims.lease_slot("main", 9, 160.0, after=100.0),
                range(64),
            )
        )
    assert sum(taken) == 1


def test_a_choice_is_kept_whatever_was_settled_for_a_later_time(store: WakeStore) -> None:
    """As by a clock that was far ahead."""
    assert store.claims.settle("wake:main", 10**6, "far") == "far"
    assert store.claims.settle("wake:main", 7, "first") == "first"
    assert store.claims.settle("wake:main", 7, "second") == "first"
    assert store.claims.settled("wake:main", 7) == "first"
    assert store.claims.settle("wake:other", 7, "third") == "third"


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 10**400])
def test_ends_of_leases_are_times(store: WakeStore, wrong: float) -> None:
    """The error names the value."""
    for call in (
        lambda: store.claims.claim_slot("main", 1, until=wrong),
        lambda: store.claims.lease_slot("main", 1, wrong),
        lambda: store.claims.lease_slot("main", 1, 5.0, after=wrong),
    ):
        with pytest.raises(ConfigError, match="the end of the lease is"):
            call()


def test_one_of_many_claims_wins(path: Path) -> None:
    """Of 16 threads over four connections, one wakes each hour, and a quota ends exactly."""
    with ExitStack() as stack, ThreadPoolExecutor(16) as pool:
        stores = [stack.enter_context(WakeStore(path)) for _ in range(4)]
        taken = list(
            pool.map(
                lambda number: stores[number % 4].claims.take_quota("intent", "today", 50),
                range(64),
            )
        )
        claimed = list(
            pool.map(lambda number: stores[number % 4].claims.claim_slot("main", 9), range(64))
        )
    assert (sum(taken), sum(claimed)) == (50, 1)


@pytest.mark.parametrize("wrong", [-1, 1.5, float("nan"), True, 10**30])
def test_limits_and_slots_are_whole_numbers_from_0(store: WakeStore, wrong) -> None:
    """The error names the value and its range."""
    for call in (
        lambda: store.claims.claim_slot("main", wrong),
        lambda: store.claims.take_quota("intent", "today", wrong),
        lambda: store.claims.quota_left("intent", "today", wrong),
    ):
        with pytest.raises(ConfigError, match="Use a whole number from 0"):
            call()


def test_any_name_is_the_name_of_a_quota(store: WakeStore, odd_name: str) -> None:
    """Quotes, line breaks, paths and nulls are stored as they are."""
    assert store.claims.take_quota(odd_name, odd_name, 1)
    assert not store.claims.take_quota(odd_name, odd_name, 1)


def test_bad_names_of_quotas_are_refused(store: WakeStore, bad_name: str) -> None:
    """Of the quota and of its day."""
    for names in ((bad_name, "today"), ("intent", bad_name)):
        with pytest.raises(ConfigError):
            store.claims.take_quota(*names, 1)
        with pytest.raises(ConfigError):
            store.claims.quota_left(*names, 1)
