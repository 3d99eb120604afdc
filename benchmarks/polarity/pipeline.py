"""Share of the pipeline's calls with a similar one before them, on recorded conversations.

Presets run on recorded user messages with the simulated model and every purpose in shadow mode, in
virtual time, where no answer ends: so this is the most that reuse could serve. Prompts contain
the conversation so far, so the messages alone are compared too.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.figures import ROOT, Figure
from callwise.budget.similar import REUSABLE_PURPOSES
from callwise.budget.similar.content import content_of
from callwise.recordings import read_conversations
from callwise.recordings.app_protocol import TurnInput
from callwise.recordings.group_chat import read_group_chat
from graph.app import app

__all__ = ["Talks", "pipeline_figures", "recorded_talks"]

PRESETS = ("instant", "balanced", "classic")

MAX_TURNS = 200
"""Most messages of one source, from its first conversations, or a group chat's longest."""

Talks = Mapping[str, Sequence[TurnInput]]
"""Messages by conversation."""


def recorded_talks(max_turns: int = MAX_TURNS) -> dict[str, Talks]:
    """Return the recorded messages by source; none of a source that is not there."""
    data = Path(os.environ.get("CALLWISE_DATA", ROOT / "../shared/data"))
    found: dict[str, Talks] = {}
    for name in ("sample_memorybank_cn/turns.jsonl", "sample_kdconv_zh"):
        if (data / name).exists():
            found[name.partition("/")[0]] = {
                each.conversation_id: [
                    TurnInput(each.conversation_id, turn.turn, turn.user_text, turn.user_id)
                    for turn in each.turns
                ]
                for each in read_conversations([data / name]).conversations
            }
    lines: dict[str, list[TurnInput]] = {}
    for path in sorted((data / "sample_irc_groupchat").glob("*.jsonl")):
        for line in read_group_chat(path).lines:
            name = f"{path.stem} {line.author}"
            said = lines.setdefault(name, [])
            said.append(TurnInput(name, len(said), line.text))
    if lines:
        longest = sorted(lines.items(), key=lambda each: (-len(each[1]), each[0]))
        found["sample_irc_groupchat, a conversation per speaker"] = dict(longest)
    return {source: _first(talks, max_turns) for source, talks in found.items()}


def _first(talks: Talks, max_turns: int) -> Talks:
    """Return the first messages, of whole conversations but the last."""
    left = max_turns
    chosen = {}
    for name, turns in talks.items():
        if left <= 0:
            break
        chosen[name] = turns[:left]
        left -= len(turns)
    return chosen


async def pipeline_figures(sources: Mapping[str, Talks]) -> list[Figure]:
    """Return the shares of calls and of messages with a similar one before them."""
    figures = []
    for source, talks in sources.items():
        figures.append(_message_figure(source, talks))
        for preset in PRESETS:
            figures += await _preset_figures(source, talks, preset)
    return figures


def _message_figure(source: str, talks: Talks) -> Figure:
    counts: Counter[str] = Counter()
    for turns in talks.values():
        texts: set[str] = set()
        forms: set[tuple[str, ...]] = set()
        for turn in turns:
            form = content_of(turn.user_text).form
            if turn.user_text in texts:
                counts["equal"] += 1
            elif form and form in forms:
                counts["similar"] += 1
            texts.add(turn.user_text)
            forms.add(form)
        counts["all"] += len(turns)
    return Figure(
        f"{source}: messages equal in content, but not in text, to an earlier one of their "
        "conversation; equal in text",
        f"{counts['similar']} and {counts['equal']} of {counts['all']}",
        note=f"{len(talks)} conversations",
    )


async def _preset_figures(source: str, talks: Talks, preset: str) -> Sequence[Figure]:
    overrides = [f"cache.similar.{purpose}.check_share=0" for purpose in REUSABLE_PURPOSES]
    asked: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        async with app.open(app.settings(preset, overrides), folder=Path(folder)) as session:
            for turn in (turn for turns in talks.values() for turn in turns):
                result = await session.run_turn(turn)
                asked.update(row["purpose"] for row in result.rows)
            similar = session.statistics()["similar"]
    return [
        Figure(
            f"{source}, `{preset}`: calls with a similar one before them, by purpose",
            ", ".join(_shares(asked, similar)),
            note="simulated answers",
        )
    ]


def _shares(asked: Mapping[str, int], similar: Mapping[str, float]) -> Iterator[str]:
    for purpose in REUSABLE_PURPOSES:
        if asked.get(purpose):
            yield f"{purpose} {similar.get(f'would_be_{purpose}', 0):.0f} of {asked[purpose]}"
