"""A finished run as a recording: what was asked of the app, and every answer it got.

Everything is in the run's folder: the turns' inputs in `turns.jsonl`, the settings as
they were given in `manifest.json`, the calls in its cassette.
"""

import hashlib
import inspect
import shlex
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import BaseModel

from callwise.budget.recorder import Recorder
from callwise.calls.errors import ConfigError, FormatError
from callwise.calls.trust import NOTHING, Trust, TrustedSettings
from callwise.knobs import Overrides, apply_overrides, data_problem, validate
from callwise.recordings.app_protocol import (
    SHIPPED_APP,
    App,
    ReadsEnvironment,
    Session,
    SnapshotStart,
    TurnInput,
    load_app,
)
from callwise.recordings.held_files import replace_file
from callwise.recordings.learned_endpoints import ENDPOINTS_FILE
from callwise.recordings.run_folder import no_folder, read_manifest, read_rows

if TYPE_CHECKING:
    from callwise.budget.shared_requests import SharedRequests
    from callwise.memory.conversation_memory import ConversationMemory

__all__ = ["Recording", "finished_turns", "open_recording"]


@dataclass(frozen=True, slots=True)
class Recording:
    """A finished run, ready to be played under other settings.

    Args:
        trust: what of its endpoints, and of a sweep's, the user named.
        given: its settings as they were given, defaults left out.
        inputs: what each turn was asked, in the order of the run's file.
        replies: the recorded reply of each turn, by conversation and turn.
        digest: identifies the run and its turns, in sweeps' manifests.
        files: what its conversations were read from, as it was given; empty where that is not
            known. Untrusted.
    """

    folder: Path
    app: SnapshotStart
    app_target: str
    trust: Trust
    given: Mapping[str, Any]
    inputs: tuple[TurnInput, ...]
    replies: Mapping[tuple[str, int], str]
    cassette: Path
    is_simulated: bool
    digest: str
    files: tuple[str, ...] = ()

    def settings(self, preset: str | None, overrides: Overrides = ()) -> BaseModel:
        """Return the knobs of a setting.

        Args:
            preset: name of a preset, or None for the recorded run's own settings.

        Raises:
            ConfigError: for an unknown preset or knob, or a value out of range.
        """
        if preset is not None:
            settings = self.app.settings(preset, overrides)
        else:
            model = self.app.settings_model()
            settings = validate(model, apply_overrides(self.given, overrides, model))
        if not isinstance(settings, TrustedSettings):
            return settings
        return settings.trusting(self.trust)

    @asynccontextmanager
    async def session(
        self,
        settings: BaseModel,
        recorder: Recorder,
        memory: "ConversationMemory",
        *,
        is_offline: bool = True,
        shared: "SharedRequests | None" = None,
    ) -> AsyncIterator[Session]:
        """Open a session under other settings. What it writes into its folder is deleted.

        What endpoints have taught the run is known to a session that may send, and is
        kept with the run when it has learned more.

        Args:
            shared: requests in common with other sessions, where the app is a `SharesRequests`.
        """
        with tempfile.TemporaryDirectory(prefix="callwise-") as name:
            folder = Path(name)
            kept, lent = self.folder / ENDPOINTS_FILE, folder / ENDPOINTS_FILE
            known = kept.read_bytes() if kept.exists() and not is_offline else b""
            if known:
                lent.write_bytes(known)
            options: dict[str, Any] = {} if shared is None else {"shared": shared}
            try:
                async with self.app.open(
                    settings,
                    folder=folder,
                    recorder=recorder,
                    is_offline=is_offline,
                    memory=memory,
                    **options,
                ) as session:
                    yield session
            finally:
                # Not when it is as it was: another session may have learned more.
                if lent.exists() and not is_offline and (now := lent.read_bytes()) != known:
                    replace_file(kept, now)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not folder.is_dir():
        raise no_folder(folder)
    if not path.is_file():
        raise FormatError(
            folder,
            None,
            "has no manifest.json, so it is no run; make one: callwise replay ... --out DIR, or in "
            "Python replay(..., out=DIR)",
        )
    manifest = read_manifest(path)
    if "app" not in manifest["identity"]:
        raise FormatError(path, None, "expected a run's manifest, which names its app")
    if "given" not in manifest:
        raise FormatError(
            path, None, "does not say which settings were given: an older Callwise wrote it; "
            "replay the conversations again with this one, from the same cassette"
        )  # fmt: skip
    if not isinstance(manifest["given"], dict):
        raise FormatError(path, None, "expected the settings that were given as an object")
    problem = data_problem(manifest["given"])
    if problem is not None:
        raise FormatError(path, None, f"cannot be used: in `given`, {problem}")
    return manifest


def _turn(path: Path, number: int, row: Mapping[str, Any]) -> tuple[TurnInput, str]:
    try:
        turn = TurnInput(
            conversation_id=row["conversation_id"],
            turn=int(row["turn"]),
            user_text=row["user_text"],
            user_id=row.get("user_id"),
            time=row.get("time"),
            persona=row.get("persona"),
        )
        return turn, str(row.get("reply") or "")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(path, number, f"expected one finished turn: {error!r}") from error


def finished_turns(folder: Path) -> list[tuple[TurnInput, str]]:
    """Return what each finished turn of a run was asked and its reply; none of a new run.

    Raises:
        FormatError: when the file of its turns cannot be read.
    """
    path = folder / "turns.jsonl"
    return [_turn(path, number, row) for number, row in enumerate(read_rows(path)[0], start=1)]


def _app(folder: Path, target: str, trust: Trust, given: str | None) -> SnapshotStart:
    """Return the app of a run, which its manifest names and the user confirms.

    Raises:
        ConfigError: when it is another than was given, or only the manifest names it.
    """
    if given is not None and given != target:
        raise ConfigError(
            f"{folder} is a run of {target!r}, not of {given!r}: leave --app (in "
            "Python app=) out, or give the folder of a run of that app"
        )
    if target not in {SHIPPED_APP, given} and not trust.imports(target):
        raise ConfigError(
            f"{folder} is a run of {target!r}, and a recording runs no code that only it names: "
            f"if you know that app, add --app {shlex.quote(target)} (in Python app=)"
        )
    app: App = load_app(target)
    if not isinstance(app, SnapshotStart) or "memory" not in inspect.signature(app.open).parameters:
        raise ConfigError(
            f"{target!r} cannot start a turn from a recorded past: its `open` takes no `memory` "
            "(see callwise.recordings.app_protocol.SnapshotStart)"
        )
    return app


def open_recording(folder: Path, *, app: str | None = None, trust: Trust = NOTHING) -> Recording:
    """Return a finished run as a recording.

    Args:
        app: import string of the app; None takes the run's own, if that is the shipped one.
        trust: what else the user named; the run's app is imported only if this has it.

    Raises:
        FormatError: when it is no run of this format, or has no turn or no cassette.
        ConfigError: when the app cannot be loaded, is not the run's, or only the run names it.
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    target = str(manifest["identity"]["app"])
    loaded = _app(folder, target, trust, app)
    turns = finished_turns(folder)
    if not turns:
        raise FormatError(
            folder / "turns.jsonl",
            None,
            "has no finished turn, so there is nothing to evaluate",
        )
    elsewhere = manifest["identity"].get("cassette")
    cassette = Path(str(elsewhere)) if elsewhere else folder / "cassette.jsonl"
    if str(cassette).startswith(("//", "\\\\")):
        raise FormatError(
            folder, None, "names a cassette on another machine; replay it from a copy"
        )
    if not cassette.is_file():
        raise FormatError(
            cassette, None, f"does not exist: the recording that {folder} was made with is gone"
        )
    return Recording(
        folder=folder,
        app=loaded,
        app_target=target,
        trust=_trust_of(loaded, trust),
        given=manifest["given"],
        inputs=tuple(turn for turn, _ in turns),
        replies={(turn.conversation_id, turn.turn or 0): reply for turn, reply in turns},
        cassette=cassette,
        is_simulated=manifest.get("simulated") is True,
        digest=_digest(manifest["identity"], folder / "turns.jsonl"),
        files=_files(manifest.get("files")),
    )


def _files(named: Any) -> tuple[str, ...]:
    return tuple(map(str, named)) if isinstance(named, list) else ()


def _trust_of(app: App, trust: Trust) -> Trust:
    """Return a trust with what the environment names for an app."""
    if trust.is_everything or not isinstance(app, ReadsEnvironment):
        return trust
    own = app.own_trust()
    return replace(own, endpoints=own.endpoints | trust.endpoints, code=own.code | trust.code)


def _digest(identity: Mapping[str, Any], turns: Path) -> str:
    known = {name: identity.get(name) for name in ("app", "settings", "conversations")}
    data = orjson.dumps(known, option=orjson.OPT_SORT_KEYS) + turns.read_bytes()
    return hashlib.sha256(data).hexdigest()
