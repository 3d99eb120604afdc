"""Steps between graph and nodes."""

from pathlib import Path

import pytest

from graph.app import app
from graph.engine import TurnContext
from graph.state import TurnState
from graph.steps import STEPS
from nodes.prompt import prompt
from nodes.text import split_sentences


@pytest.mark.parametrize("name", ["lats_plan", "lats_expand", "lats_generate", "processor"])
async def test_a_reply_that_quotes_its_prompt_is_mended(tmp_path: Path, name: str) -> None:
    """Whichever prompt asked for the reply: its sentences do not reach the user."""
    leaked = max(split_sentences(prompt(name, "en")), key=len).strip()
    async with app.open(app.settings("classic"), folder=tmp_path) as session:
        state = TurnState(draft=f"Good to see you. {leaked} See you soon.")
        update = await STEPS["final_validator"](state, TurnContext(session.engine))
    assert leaked not in update["reply"]
    assert "prompt_leak" in update["violations"]


@pytest.mark.parametrize(
    ("overrides", "seed"), [([], 0), (["seed=7"], 7), (["seed=7", "search.seed=3"], 3)]
)
def test_the_search_takes_the_pipelines_seed(overrides: list[str], seed: int) -> None:
    """Unless it has one itself."""
    from graph.steps import _seeded

    settings = app.settings("classic", overrides)
    assert _seeded(settings.search, settings.seed).seed == seed
