"""`turnwise demo`: a shipped conversation on the embedded simulated model."""

import tempfile
from pathlib import Path

from turnwise.calls.call import Role
from turnwise.cli.exits import clear_errors, say
from turnwise.cli.options import AppOption

__all__ = ["demo"]

CONVERSATION = "en_moving_city.jsonl"
SIMULATED = tuple(f"endpoints.{role}.kind=simulated" for role in Role)
"""Every role by name: an endpoint in the environment serves the roles that are left open,
and a demo sends nothing."""


def demo(app: AppOption = "graph.app:app") -> None:
    """Plan, run and replay a shipped conversation on the simulated model, in seconds."""
    with clear_errors(), tempfile.TemporaryDirectory(prefix="turnwise-demo-") as name:
        from turnwise.cli.replaying import ReplayOptions, replay_and_show
        from turnwise.shipped import conversation_path

        conversation = conversation_path(CONVERSATION)
        cassette = Path(name) / "demo.cassette.jsonl"
        say(f"1. Replaying {conversation.name} with preset classic, recording every call.\n")
        first = replay_and_show(
            ReplayOptions(
                paths=[conversation],
                record=cassette,
                out=Path(name) / "run",
                overrides=SIMULATED,
                app=app,
                is_passing=True,
            )
        )
        for turn in first.turns[:3]:
            say(f"\n  user   {turn['user_text']}\n  reply  {turn['reply']}")
        say("\n2. The same from the recording: no call is sent, every byte is equal.\n")
        again = replay_and_show(
            ReplayOptions(paths=[conversation], cassette=cassette, overrides=SIMULATED, app=app)
        )
        replies = [turn["reply"] for turn in first.turns]
        is_equal = replies == [turn["reply"] for turn in again.turns]
        say(f"replies equal: {'yes' if is_equal else 'NO'}")
        say(
            "\nTo use a real endpoint: TURNWISE_BASE_URL=https://api.deepseek.com/v1 "
            "TURNWISE_MODEL=deepseek-chat TURNWISE_API_KEY=... turnwise run 'hello'"
        )
