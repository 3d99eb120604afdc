"""A prompt that does not fit the model's context is asked once more with less in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from callwise.calls import Call, CallError, Client, Reply, Role
from callwise.calls.errors import ContextTooLong
from callwise.calls.payload import well_formed
from callwise.recordings.cassette import CassetteMode, open_cassette
from graph.app import app

TEXTS = [f"This is what I have to say for the {n}th time. {'So it goes. ' * 12}" for n in range(5)]
"""Long enough that the last turns' chat does not fit."""


@dataclass
class ShortContext:
    """A client whose model takes prompts up to a length in characters.

    Args:
        client: who answers what fits.
        max_chars: longest prompt.
        names_numbers: whether a refusal names the context's length and the prompt's.
        refused: the calls that did not fit.
    """

    client: Client
    max_chars: int
    names_numbers: bool = True
    refused: list[Call] = field(default_factory=list)

    @property
    def is_simulated(self) -> bool:
        """Whether the answers are simulated."""
        return self.client.is_simulated

    async def answer(
        self, calls: Sequence[Call], *, model: str, on_sent: Any = None
    ) -> list[Reply | CallError]:
        """Answer what fits."""
        answers: list[Reply | CallError] = []
        for call in calls:
            length = sum(len(well_formed(message.content)) for message in call.messages)
            if length <= self.max_chars:
                answers += await self.client.answer([call], model=model, on_sent=on_sent)
                continue
            if on_sent is not None:
                on_sent(1)
            self.refused.append(call)
            numbers = {"limit_tokens": self.max_chars, "prompt_tokens": length}
            answers.append(ContextTooLong("too long", **(numbers if self.names_numbers else {})))
        return answers

    async def aclose(self) -> None:
        """Close the client."""
        await self.client.aclose()


@pytest.mark.parametrize("names_numbers", [True, False])
@pytest.mark.parametrize(("preset", "max_chars"), [("instant", 2700), ("balanced", 4000)])
async def test_the_oldest_lines_are_left_out_and_the_turn_ends_in_a_reply(
    answer_through: Any, preset: str, max_chars: int, names_numbers: bool
) -> None:
    """Each clipped call is a repair, and the record says what was left out."""
    turns = await answer_through(
        lambda _role, client: ShortContext(client, max_chars, names_numbers),
        preset=preset,
        texts=TEXTS,
    )
    assert not any(turn.record["is_fallback"] for turn in turns)
    assert not turns[0].record["degraded"]
    clipped = [row for row in turns[-1].record["degraded"] if row["reason"] == "clipped"]
    assert clipped
    assert all("lines of chat" in row["detail"] for row in clipped)
    assert any(row["repair"] for row in turns[-1].rows)
    worst = app.plan(app.settings(preset)).as_json()["scenarios"]["worst"]
    assert all(turn.record["asked"] <= worst["asked"] for turn in turns)


async def test_without_a_repair_left_the_node_goes_on_by_rule(answer_through: Any) -> None:
    """A clipped call counts as a repair, and there are none here."""
    turns = await answer_through(
        lambda _role, client: ShortContext(client, 2700),
        "repair.max_repairs=0",
        preset="instant",
        texts=TEXTS,
    )
    assert not any(row["repair"] for turn in turns for row in turn.rows)
    assert any("ContextTooLong" in row["detail"] for row in turns[-1].record["degraded"])


@pytest.mark.parametrize("preset", ["instant", "classic"])
async def test_a_message_that_fits_nowhere_ends_in_the_fallback_line(
    answer_through: Any, preset: str
) -> None:
    """A prompt that is too long is no outage: the run goes on, and the record has the reason."""
    (turn,) = await answer_through(
        lambda _role, client: ShortContext(client, 500), preset=preset, texts=["Hello."]
    )
    assert turn.record["is_fallback"]
    assert {row["node"] for row in turn.record["degraded"]} >= {"detection", "lats_search"}


async def test_a_clipped_call_asks_as_a_repair_of_the_same_question(answer_through: Any) -> None:
    """The shorter prompt keeps the instructions, this turn's message and what is asked."""
    clients: list[ShortContext] = []

    def wrapped(_role: Role, client: Client) -> ShortContext:
        clients.append(ShortContext(client, 2700))
        return clients[-1]

    turns = await answer_through(wrapped, preset="instant", texts=TEXTS)
    refused = [call for client in clients for call in client.refused]
    assert refused
    assert all(call.repair == 0 for call in refused)
    asked = [row["repair"] for row in turns[-1].rows if row["node"] == "detection"]
    assert asked == [0, 1]


async def test_a_strict_replay_clips_as_the_run_did(answer_through: Any, tmp_path: Path) -> None:
    """The refusal is recorded with its numbers, so nothing is decided again and nothing is sent."""
    turns = []
    for mode in (CassetteMode.NEW_EPISODES, CassetteMode.STRICT):
        with open_cassette(tmp_path / "calls.jsonl", mode) as cassette:
            turns.append(
                await answer_through(
                    lambda _role, client: ShortContext(client, 2700),
                    preset="instant",
                    texts=TEXTS,
                    recorder=cassette,
                )
            )
    bought, replayed = turns
    for name in ("reply", "degraded", "asked"):
        assert [turn.record[name] for turn in replayed] == [turn.record[name] for turn in bought]
    assert {row["outcome"] for turn in replayed for row in turn.rows} == {"replayed"}
    tokens = [[(row["input_tokens"], row["repair"]) for row in turn.rows] for turn in replayed]
    assert tokens == [[(row["input_tokens"], row["repair"]) for row in t.rows] for t in bought]
