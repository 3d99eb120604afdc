"""Claims: one more of a day's quota, and one scheduler per hour."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.calls.errors import ConfigError
from callwise.wake import WakeStore


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
            assert store.claims.claim_slot(7) is (number == 0)


@given(st.lists(st.integers(0, 20), max_size=20))
def test_a_slot_is_claimed_in_rising_order(slots: list[int]) -> None:
    """Neither a slot again nor an earlier one: a clock that is set back wakes nothing."""
    with WakeStore(":memory:") as store:
        last = -1
        for slot in slots:
            assert store.claims.claim_slot(slot) is (slot > last)
            last = max(last, slot)


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
        claimed = list(pool.map(lambda number: stores[number % 4].claims.claim_slot(9), range(64)))
    assert (sum(taken), sum(claimed)) == (50, 1)


@pytest.mark.parametrize("wrong", [-1, 1.5, float("nan"), True, 10**30])
def test_limits_and_slots_are_whole_numbers_from_0(store: WakeStore, wrong) -> None:
    """The error names the value and its range."""
    for call in (
        lambda: store.claims.claim_slot(wrong),
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
