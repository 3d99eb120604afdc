"""Recorded conversations in a notebook: replayed in one call, and how sure their means are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from turnwise.calls.trust import confirmed
from turnwise.replay.app_protocol import load_app
from turnwise.replay.cassette import CassetteMode
from turnwise.replay.conversation_files import read_conversations
from turnwise.replay.replay_run import RunRequest, run_replay
from turnwise.report import RunRecord, load_run
from turnwise.tune.panel import Panel
from turnwise.tune.sweeps.setting import override_of

__all__ = ["panel_of_run", "replay"]


async def replay(
    conversations: str | Path,
    out: str | Path,
    *,
    preset: str = "balanced",
    knobs: Mapping[str, JsonValue] | None = None,
    cassette: str | Path | None = None,
    app: str = "graph.app:app",
    trust_endpoints: Sequence[str] = (),
    trust_code: Sequence[str] = (),
) -> RunRecord:
    """Replay conversations and return the run, read back from its folder.

    With a cassette every call is played from it, nothing is sent, and a call that it lacks
    is an error. Without one the app's endpoints answer, and the folder keeps a recording.

    Args:
        conversations: a file or folder, in any format that `turnwise replay` reads.
        out: the run's folder; a run that stopped there goes on.
        preset: name of a preset, or path of a file of knobs.
        knobs: values by dotted knob, laid over the preset.
        cassette: the recording to play.
        app: the app's import string.
        trust_endpoints: endpoints that a preset file may name and be sent calls, as `HOST` or
            `VARIABLE@HOST`.
        trust_code: models that it may name, as `module:name`.

    Raises:
        ConfigError: when a setting cannot work, or the folder holds something else.
        FormatError: when a file cannot be read.
        CallError: what stopped the run, such as a call that the cassette lacks.
    """
    loaded = load_app(app)
    overrides = [override_of(knob, value) for knob, value in (knobs or {}).items()]
    request = RunRequest(
        app=loaded,
        app_target=app,
        settings=confirmed(loaded.settings(preset, overrides), trust_endpoints, trust_code),
        conversations=read_conversations([Path(conversations)]).conversations,
        folder=Path(out),
        cassette=None if cassette is None else Path(cassette),
        mode=CassetteMode.NEW_EPISODES if cassette is None else CassetteMode.STRICT,
    )
    await run_replay(request)
    return load_run(request.folder)


def panel_of_run(run: RunRecord, *, is_by_turn: bool = False) -> Panel:
    """Return what each turn of a run took, as a panel whose means can be given intervals.

    Its settings are `calls a turn`, `rounds to the reply` and `seconds to the reply` (path
    seconds); NaN where a turn does not say.

    Args:
        run: of `replay` or `load_run`.
        is_by_turn: whether each turn counts as a conversation of its own. Turns of one
            conversation are alike, so intervals of such a panel are too narrow as a rule;
            it is there to be compared.
    """
    names = [turn.conversation_id for turn in run.turns]
    units = [str(place) for place in range(len(names))] if is_by_turn else names
    places = {unit: place for place, unit in enumerate(dict.fromkeys(units))}
    figures = [
        [turn.asked for turn in run.turns],
        [turn.spans[0] for turn in run.turns],
        [turn.spans[2] for turn in run.turns],
    ]
    values = np.array(figures, dtype=np.float64)
    return Panel(
        settings=("calls a turn", "rounds to the reply", "seconds to the reply"),
        conversations=tuple(places),
        conversation_of=np.array([places[unit] for unit in units], dtype=np.intp),
        values=values,
        spread=np.zeros_like(values),
    )
