"""A turn of `balanced` ends right, whatever of these a provider does."""

from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.providers.behaviour import Behaviour
from tests.providers.behaviours import BEHAVIOURS, PLAIN
from tests.providers.running import problems_of, run_behaviour


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plain_reply(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the reply of the turn at a server without oddities."""
    outcome = await run_behaviour(PLAIN, tmp_path_factory.mktemp("plain"), replays=False)
    return str(outcome.record["reply"])


def _tried(place: int, behaviour: Behaviour) -> Any:
    """Return a behaviour to try; two thirds of them with the slow tests, for the time's sake."""
    is_slow = behaviour.is_extra or place % 3 != 0
    marks = [pytest.mark.slow] if is_slow else []
    return pytest.param(behaviour, id=behaviour.name, marks=marks)


@pytest.mark.parametrize("behaviour", [_tried(*each) for each in enumerate(BEHAVIOURS)])
async def test_a_turn_ends_as_it_should(
    behaviour: Behaviour, plain_reply: str, tmp_path: Path
) -> None:
    """Reply or error, calls, requests, ledger, what is shown; of a third, the strict replay."""
    replays = BEHAVIOURS.index(behaviour) % 3 == 0
    outcome = await run_behaviour(behaviour, tmp_path, replays=replays)
    assert problems_of(behaviour, outcome, plain_reply=plain_reply) == []


def test_names_of_behaviours_are_unique() -> None:
    """Their names are the tests' names."""
    names = [behaviour.name for behaviour in BEHAVIOURS]
    assert sorted(set(names)) == sorted(names)
