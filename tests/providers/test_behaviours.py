"""A turn of `balanced` ends right, whatever of these a provider does."""

from pathlib import Path

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


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=[each.name for each in BEHAVIOURS])
async def test_a_turn_ends_as_it_should(
    behaviour: Behaviour, plain_reply: str, tmp_path: Path
) -> None:
    """Reply or error, calls, requests, ledger, what is shown; of a third, the strict replay."""
    replays = BEHAVIOURS.index(behaviour) % 3 == 0
    outcome = await run_behaviour(behaviour, tmp_path, replays=replays)
    assert problems_of(behaviour, outcome, plain_reply=plain_reply) == []


def test_every_behaviour_has_a_name_of_its_own() -> None:
    """Their names are the tests' names."""
    names = [behaviour.name for behaviour in BEHAVIOURS]
    assert sorted(set(names)) == sorted(names)
