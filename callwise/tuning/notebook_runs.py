"""Plans and runs for notebooks and scripts, and the folders in which runs are kept.

None is awaited. A run that is given no folder has one of `callwise-runs/` whose name follows
from the request, so that a cell that is run again reads its run, or goes on with it, and an
edited cell makes another one. Invariant: no run is made twice, and none is overwritten.
"""

import hashlib
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, cast

from pydantic import JsonValue

from callwise.calls.call import Outcome
from callwise.calls.errors import CallwiseError, ConfigError
from callwise.calls.owner_loop import OwnerLoop
from callwise.calls.trust import confirmed
from callwise.knobs import misspelt_variables, settings_digest
from callwise.plans import TurnPlan
from callwise.recordings.app_protocol import (
    SHIPPED_APP,
    HasArms,
    PromptDigests,
    answering_models,
    load_app,
)
from callwise.recordings.cassette import CassetteMode
from callwise.recordings.conversation import Conversation, RecordedTurn, conversation_digest
from callwise.recordings.conversation_files import ReadOptions, first_turns, read_conversations
from callwise.recordings.conversation_files import read_rows as conversations_of_rows
from callwise.recordings.replay_run import RunRequest, run_replay
from callwise.recordings.run_folder import read_rows
from callwise.recordings.unused_variables import unused_variables
from callwise.report import RunRecord, load_run
from callwise.report.run_record import calls_by_turn
from callwise.report.totals import seconds_name_of
from callwise.shipped import RUNS
from callwise.tuning.panel import Panel, measured_panel
from callwise.tuning.setting import override_of

__all__ = [
    "answered_by",
    "panel_of_run",
    "plan",
    "presets",
    "replay",
    "shortened",
    "warn_of",
]

Rows = Iterable[Mapping[str, object]]
ErrorT = TypeVar("ErrorT", bound=BaseException)


def plan(
    preset: str = "classic",
    knobs: Mapping[str, JsonValue] | None = None,
    *,
    app: str = SHIPPED_APP,
) -> TurnPlan:
    """Return what one turn will ask under these knobs. No model is asked.

    Args:
        preset: name of a preset, or path of a file of knobs.
        knobs: values by dotted knob, laid over the preset.

    Raises:
        ConfigError: for a setting that cannot work, or an app whose calls are not known before
            it runs.
        FormatError: when a preset file cannot be read.
    """
    loaded = load_app(app)
    overrides = [override_of(knob, value) for knob, value in (knobs or {}).items()]
    settings = loaded.settings(preset, overrides)
    warn_of(misspelt_variables(os.environ, [loaded.settings_model()], str(settings)))
    found: TurnPlan | None = loaded.plan(settings)
    if found is None and isinstance(loaded, HasArms) and loaded.arms(settings):
        raise ConfigError(
            "an experiment has a plan for each arm: give the knobs of one, or see `callwise plan`"
        )
    if found is None:
        raise ConfigError(
            f"the calls of {app} are not known before it runs. Run it with `replay(..., app="
            f"{app!r})` and show that run"
        )
    return found


def warn_of(lines: Iterable[str]) -> None:
    """Warn once for each line, at the place where the user called a notebook's function."""
    for line in lines:
        warnings.warn(line, stacklevel=3)


def presets(app: str = SHIPPED_APP) -> tuple[str, ...]:
    """Return the names of an app's presets."""
    return tuple(load_app(app).presets())


def answered_by(preset: str = "balanced", *, app: str = SHIPPED_APP) -> str:
    """Return, as text, which model answers under a preset, and whether its calls may cost money.

    Raises:
        ConfigError: for a setting that cannot work.
    """
    loaded = load_app(app)
    settings = loaded.settings(preset)
    if loaded.is_simulated(settings):
        return "simulated model: nothing is sent, nothing is paid, and it proves no quality"
    models = dict.fromkeys(model for _, _, model in answering_models(loaded, settings))
    place = os.environ.get("CALLWISE_BASE_URL") or "the endpoints of the preset"
    return (
        f"{', '.join(models) or 'a model'} at {place}: every call is sent, and its provider "
        "may charge for it"
    )


def replay(
    conversations: str | Path | Sequence[str] | Rows,
    out: str | Path | None = None,
    *,
    preset: str = "balanced",
    knobs: Mapping[str, JsonValue] | None = None,
    columns: Mapping[str, str] | None = None,
    cassette: str | Path | None = None,
    max_conversations: int | None = None,
    max_turns: int | None = None,
    max_concurrency: int = 1,
    app: str = SHIPPED_APP,
    trust_endpoints: Sequence[str] = (),
    trust_code: Sequence[str] = (),
) -> RunRecord:
    """Replay conversations and return the run, read back from its folder.

    With a cassette every call is played from it, nothing is sent, and a call that it lacks
    is an error. Without one the app's endpoints answer, and the folder keeps a recording. It
    returns when the run has ended; in asynchronous code, await `asyncio.to_thread(replay, ...)`.

    Args:
        conversations: a file or folder, in any format that `callwise replay` reads; or the
            user's messages of one conversation, as a list; or rows in memory, such as a split of
            a Hugging Face data set or a list of records.
        out: the run's folder; a run that was stopped there continues. None is a folder of
            `callwise-runs/` that is the same for the same request, and for no other.
        preset: name of a preset, or path of a file of knobs.
        knobs: values by dotted knob, laid over the preset.
        max_conversations: only the first ones; at least 1. A verdict of `tune` takes 5.
        columns: of a file or of rows, keys or columns by the usual name that they are read
            under, such as `{"prompt": "question", "response": "answer"}`.
        max_turns: only the first turns, over all conversations; a folder that has more keeps
            them, and one that has fewer goes on. At least 1.
        max_concurrency: conversations that run concurrently; at least 1. The files are the
            same for every value.
        trust_endpoints: endpoints that a preset file may name and be sent calls, as `HOST` or
            `VARIABLE@HOST`.
        trust_code: models that it may name, as `module:name`.

    Raises:
        ConfigError: when a setting cannot work, or the folder has something else in it.
        FormatError: when a file cannot be read.
        CallError: what stopped the run, such as a call that the cassette lacks. Its note has
            how many turns are kept.
    """
    if max_turns is not None and max_turns < 1:
        raise ConfigError(f"max_turns is at least 1, got {max_turns}")
    loaded = load_app(app)
    overrides = [override_of(knob, value) for knob, value in (knobs or {}).items()]
    if max_conversations is not None and max_conversations < 1:
        raise ConfigError(f"max_conversations is at least 1, got {max_conversations}")
    settings = confirmed(loaded.settings(preset, overrides), trust_endpoints, trust_code)
    options = ReadOptions(columns=dict(columns or {}))
    read = _conversations(conversations, options)[:max_conversations]
    warn_of(unused_variables(loaded, settings, os.environ))
    request = RunRequest(
        app=loaded,
        app_target=app,
        settings=settings,
        conversations=read if max_turns is None else tuple(first_turns(read, max_turns)),
        digest_of=read,
        folder=Path(out or ""),
        cassette=None if cassette is None else Path(cassette),
        mode=CassetteMode.NEW_EPISODES if cassette is None else CassetteMode.STRICT,
        max_concurrency=max_concurrency,
        files=[str(conversations)] if isinstance(conversations, str | Path) else [],
    )
    if out is None:
        stem = Path(conversations).stem if isinstance(conversations, str | Path) else "messages"
        request = replace(request, folder=RUNS / _run_name(f"{stem}-{Path(preset).stem}", request))
    owner = OwnerLoop(is_private=True)
    try:
        owner.wait(run_replay, request)
    except (CallwiseError, KeyboardInterrupt) as error:
        raise shortened(error, request) from None
    finally:
        owner.close()
    return load_run(request.folder)


def _conversations(
    given: str | Path | Sequence[str] | Rows, options: ReadOptions
) -> tuple[Conversation, ...]:
    if isinstance(given, str | Path):
        return tuple(read_conversations([Path(given)], options=options).conversations)
    if not isinstance(given, Sequence) or any(isinstance(each, Mapping) for each in given):
        return tuple(conversations_of_rows(cast("Rows", given), options=options).conversations)
    texts = cast("Sequence[str]", given)
    if not texts or not all(text.strip() for text in texts):
        raise ConfigError(
            f"a conversation is a list of messages, none blank, got {given!r:.80}. Give such a "
            "list, rows of a data set, or the path of a file"
        )
    turns = (RecordedTurn("messages", at, text, user_id="user") for at, text in enumerate(texts))
    return (Conversation("messages", "user", None, tuple(turns)),)


def _run_name(begin: str, request: RunRequest) -> str:
    """Return a folder name: the same for the same request, models and prompts, and no other."""
    app = request.app
    prompts = dict(app.prompt_digests()) if isinstance(app, PromptDigests) else {}
    identity = (
        *(
            request.app_target,
            str(request.mode),
            str(request.cassette and request.cassette.resolve()),
        ),
        *(conversation_digest(request.digest_of or ()), settings_digest(request.settings)),
        *(*answering_models(app, request.settings), *sorted(prompts.items())),
    )
    return f"{begin}-{hashlib.sha256(repr(identity).encode()).hexdigest()[:8]}"


def shortened(error: ErrorT, run: RunRequest | None = None) -> ErrorT:
    """Return an error without the engine's frames, and with a note of what is kept of a run."""
    if run is not None and (run.folder / "manifest.json").is_file():
        kept = len(read_rows(run.folder / "turns.jsonl")[0])
        turns = sum(len(conversation.turns) for conversation in run.conversations)
        error.add_note(
            f"{kept} of {turns} turns are finished and kept in {run.folder}. Run the same "
            "again to go on from there: what its recording has is not paid for twice."
        )
    # IPython prints an error with a group in its context plainly, and not as a cell's error.
    error.__context__ = None
    return error.with_traceback(None)


def panel_of_run(run: RunRecord, *, is_by_turn: bool = False) -> Panel:
    """Return calls, rounds and seconds of each turn of a run, as a panel for `mean_intervals`.

    Its settings are `calls per turn` (refused ones left out), `rounds to the reply` and `seconds
    to the reply` (path seconds, named as in a report); NaN where a turn has no such
    figure.

    Args:
        is_by_turn: whether each turn counts as one conversation. Turns of a conversation are
            alike, so such intervals are too narrow as a rule; they are for comparison.
    """
    names = [turn.conversation_id for turn in run.turns]
    by_turn = calls_by_turn(run.turns, run.rows)
    made = [sum(row.outcome is not Outcome.REFUSED for row in by_turn[turn.key])
            for turn in run.turns]  # fmt: skip
    seconds = seconds_name_of(run.rows)
    units = [str(place) for place in range(len(names))] if is_by_turn else names
    figures: dict[str, list[float | None]] = {
        "calls per turn": [*made],
        "rounds to the reply": [turn.spans[0] for turn in run.turns],
        f"{seconds} to the reply": [turn.spans[2] for turn in run.turns],
    }
    return measured_panel(figures, units)
