"""A small recorded run for the notebook's verbs."""

import json
from pathlib import Path

import pytest


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    """Return a file of six conversations of one turn each."""
    path = tmp_path / "talks.jsonl"
    path.write_text(
        "".join(
            json.dumps(
                {
                    "conversation_id": f"talk-{number}",
                    "user_id": f"user-{number}",
                    "turn": 0,
                    "user_text": f"I got job number {number}, and now I am scared of it.",
                }
            )
            + "\n"
            for number in range(6)
        ),
        encoding="utf-8",
    )
    return path
