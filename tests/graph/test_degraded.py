"""Degradations in a turn's record: failed judges, and roles with an endpoint that is down."""

from collections.abc import Callable
from typing import Any

import pytest

from callwise.calls import Call, CallError, Client, Purpose, Role
from callwise.calls.errors import AuthFailed, ConnectionFailed, EndpointDown, InvalidAnswer
from tests.graph.conftest import Change, ChangingClient

NO_RETRIES = "retry.connection_failed_attempts=1"


def _spoiled(role: Role, change: Change) -> Callable[[Role, Client], Client]:
    return lambda each, client: ChangingClient(client, change) if each is role else client


def _refused(_call: Call, _number: int, _text: str) -> CallError:
    return ConnectionFailed("connection refused", was_sent=False)


@pytest.mark.parametrize("preset", ["classic", "balanced", "thorough"])
async def test_a_dead_judge_is_named_and_the_reply_is_sent(
    answer_through: Any, preset: str
) -> None:
    """Once as a search without a judgement, once as a role with its endpoint."""
    around = _spoiled(Role.JUDGE, _refused)
    (turn,) = await answer_through(around, NO_RETRIES, preset=preset)
    assert not turn.record["is_fallback"]
    asked = sum(row["role"] == "judge" for row in turn.rows)
    calls = f"{asked} of {asked} judge call{'s' if asked > 1 else ''}"
    failed = {
        "node": "lats_search",
        "reason": "failed",
        "detail": f"no usable judgement: {calls} failed (ConnectionFailed: connection refused)",
    }
    down = {
        "node": "lats_search",
        "reason": "down",
        "detail": "judge at simulated is down: connection refused",
        "role": "judge",
        "endpoint": "simulated",
    }
    assert turn.record["degraded"] == [failed, down]


@pytest.mark.parametrize("preset", ["classic", "balanced"])
async def test_a_judge_that_answers_nonsense_is_named(answer_through: Any, preset: str) -> None:
    """Its answers are unreadable, and its endpoint is not down."""
    around = _spoiled(Role.JUDGE, lambda *_: "I like them all.")
    (turn,) = await answer_through(around, preset=preset)
    assert not turn.record["is_fallback"]
    (row,) = turn.record["degraded"]
    assert (row["node"], row["reason"]) == ("lats_search", "invalid")
    assert row["detail"].startswith("no usable judgement: ")
    assert InvalidAnswer.__name__ in row["detail"]
    judged = [row for row in turn.rows if row["role"] == "judge"]
    assert judged
    assert all(row["is_unreadable"] and row["error"] for row in judged)
    assert turn.record["unreadable"] == len(judged)
    assert turn.record["repairs"] == sum(row["repair"] > 0 for row in judged)


@pytest.mark.parametrize("preset", ["classic", "balanced"])
async def test_a_judge_that_answers_once_is_no_degradation(
    answer_through: Any, preset: str
) -> None:
    """One judgement can be used; the calls that failed are in the ledger."""

    def second_fails(_call: Call, number: int, _text: str) -> str | None:
        return "no" if number else None

    around = _spoiled(Role.JUDGE, second_fails)
    (turn,) = await answer_through(around, "repair.max_repairs=0", preset=preset)
    assert turn.record["unreadable"] > 0
    assert turn.record["degraded"] == []


async def test_a_judge_that_scores_no_candidate_is_named(answer_through: Any) -> None:
    """Its answer fits the form, and says nothing of what it was shown."""
    around = _spoiled(Role.JUDGE, lambda *_: '{"verdicts": []}')
    (turn,) = await answer_through(around, preset="balanced")
    (row,) = turn.record["degraded"]
    assert (row["reason"], turn.record["unreadable"]) == ("invalid", 0)
    assert row["detail"].endswith("brought no score")


async def test_a_role_that_is_back_is_not_down(answer_through: Any) -> None:
    """Its first call failed and its next was answered: only the node that failed is named."""

    def first_fails(_call: Call, number: int, _text: str) -> CallError | None:
        return None if number else ConnectionFailed("reset", was_sent=True)

    around = _spoiled(Role.FAST, first_fails)
    (turn,) = await answer_through(around, NO_RETRIES)
    assert [(row["node"], row["reason"]) for row in turn.record["degraded"]] == [
        ("detection", "failed")
    ]


async def test_a_role_that_dies_in_the_middle_is_down(answer_through: Any) -> None:
    """It is named once, with what its first failure said, after the nodes that met it."""

    def dies(_call: Call, number: int, _text: str) -> CallError | None:
        if not number:
            return None
        return ConnectionFailed("reset") if number == 1 else EndpointDown("not asked again")

    around = _spoiled(Role.FAST, dies)
    (turn,) = await answer_through(around, NO_RETRIES)
    assert [(row["node"], row["reason"]) for row in turn.record["degraded"]] == [
        ("evolver", "failed"),
        ("evolver", "down"),
        ("memory_manager", "failed"),
    ]
    assert turn.record["degraded"][1]["detail"] == "fast at simulated is down: reset"


async def test_a_wrong_key_of_the_judge_stops_the_run(answer_through: Any) -> None:
    """Going on makes no sense, whichever role it is; what the turn has spent is said with it."""
    around = _spoiled(Role.JUDGE, lambda *_: AuthFailed("401: wrong key", status=401))
    with pytest.raises(AuthFailed) as stopped:
        await answer_through(around)
    (note,) = [note for note in stopped.value.__notes__ if note.startswith("unfinished turn")]
    assert note.startswith("unfinished turn: 5 calls asked, 5 requests sent")


async def test_a_repair_is_counted_and_its_cause_is_unreadable(answer_through: Any) -> None:
    """One nonsense answer: one unreadable call, one repair, and no degradation."""

    def once(call: Call, _number: int, _text: str) -> str | None:
        return "hm" if call.purpose is Purpose.PLAN and not call.repair else None

    around = _spoiled(Role.MAIN, once)
    (turn,) = await answer_through(around)
    assert (turn.record["unreadable"], turn.record["repairs"]) == (1, 1)
    assert turn.record["degraded"] == []
    (row,) = [row for row in turn.rows if row["is_unreadable"]]
    assert (row["purpose"], row["outcome"], row["notes"]) == ("plan", "served", "")
