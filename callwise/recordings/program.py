"""LangGraph and LangChain programs as apps: replayed, recorded and gated as they are.

An import string that names a function, `build(model)` or `build(models)`, is made an app. The
function returns a compiled graph, or another runnable, whose state has `messages`; its models
are `BudgetedChatModel`s. Each turn of a conversation is one `ainvoke`: with the conversation as
its thread where the graph has a checkpointer, else with the messages so far.

Problem: what a program remembers is in its own state, of any form, and a run that was stopped
goes on in another process. Choice: nothing of it is kept. The finished turns of a conversation
are run again from the recording, which sends nothing, before its next turn; a program that
answers them otherwise has changed, and is refused. A checkpointer of the program's own is
replaced by one in memory, so that no earlier run and no other conversation is in its threads.

Invariant: rows, turns and prompts of a replay are the same at any concurrency. Rounds are left
out: what overlaps in a program that is not ours is chance.
"""

import inspect
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from callwise.budget.budgeter import Budgeter
from callwise.budget.clock import SystemClock, VirtualClock
from callwise.budget.limits import Limits
from callwise.budget.metrics import MetricsKnobs
from callwise.budget.metrics.reporter import Reporter
from callwise.budget.recorder import Recorder
from callwise.calls.call import Role
from callwise.calls.client import Endpoint, EndpointsByName, OfflineClient
from callwise.calls.endpoint_settings import OPENAI_KEY_VARIABLE
from callwise.calls.errors import ConfigError
from callwise.calls.policies import PolicyKnobs
from callwise.calls.retry import RetryPolicy
from callwise.calls.role_endpoints import (
    EndpointSettings,
    endpoints_from_settings,
    models_from_settings,
)
from callwise.calls.trust import TrustedSettings
from callwise.knobs import Overrides, load_preset, settings_from
from callwise.recordings.app_protocol import Notices, SettingsApp
from callwise.recordings.learned_endpoints import LearnedEndpoints
from callwise.recordings.program_session import ProgramSession, Replaying
from callwise.recordings.recording import finished_turns
from callwise.recordings.replay_run import RunRecorder

__all__ = ["ProgramApp", "ProgramSettings", "program_app"]

_DEFAULT = "default"
_KEY_VARIABLE = "CALLWISE_API_KEY"


class ProgramBudget(BaseModel):
    """Hard limits of each scope. What does not fit is refused before it is sent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: Limits = Limits()
    conversation: Limits = Limits()
    turn: Limits = Limits()


class ProgramSettings(TrustedSettings):
    """Every knob of a program."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: str = _DEFAULT
    """Name of the preset that these knobs started from."""
    budget: ProgramBudget = ProgramBudget()
    retry: RetryPolicy = RetryPolicy()
    seed: int = Field(default=0, ge=0)
    """Seeds the retries' jitter."""
    endpoints: dict[Role, EndpointSettings] = Field(default_factory=dict)
    """Endpoint of each role, as for the reply pipeline."""
    models: dict[str, EndpointSettings] = Field(default_factory=dict)
    """Further models by name, for `policies`, as for the reply pipeline."""
    policies: dict[str, PolicyKnobs] = Field(default_factory=dict)
    """Choice of the models that answer calls. A program's calls are of the purpose `other`."""
    metrics: MetricsKnobs | None = Field(default=None, exclude=True)
    """Metrics of a run while it goes on; no part of its identity."""


Build = Callable[[Any], Any]


class ProgramApp(SettingsApp[ProgramSettings]):
    """A function that builds a program, as `callwise.recordings.app_protocol.App` wants it.

    Args:
        build: makes the program around a model, or around a mapping of models by role where
            its first parameter is called `models`.
    """

    model = ProgramSettings

    def __init__(self, build: Build, target: str) -> None:
        self._build = build
        self.name = target

    def presets(self) -> Sequence[str]:
        """Return the name of the one preset: the default of every knob."""
        return (_DEFAULT,)

    def settings(self, preset: str | None, overrides: Overrides = ()) -> ProgramSettings:
        """Return the knobs of a YAML file or the default ones, the environment's and overrides.

        Raises:
            ConfigError: for an unknown preset or knob, or a value out of range.
            FormatError: for a file that cannot be read.
        """
        data: dict[str, Any] = {}
        if preset is not None and preset != _DEFAULT:
            if not preset.endswith((".yaml", ".yml")):
                raise ConfigError(
                    f"{self.name} has one preset, {_DEFAULT!r}, and no {preset!r}: leave --preset "
                    "out, or give a YAML file of knobs"
                )
            try:
                data = load_preset(Path(preset), Path(preset).parent)
            except ConfigError as error:
                if not str(error).startswith("unknown preset"):
                    raise
                raise ConfigError(
                    f"{preset} extends a preset, and {self.name}, an app of another shape than the "
                    "reply pipeline, has none to extend: drop `extends`"
                ) from error
            data["preset"] = Path(preset).stem
        return settings_from(
            ProgramSettings, data, overrides=overrides, environ=os.environ, is_file=bool(data)
        )

    def plan(self, settings: BaseModel) -> None:
        """Return None: what a program asks is not known before it runs."""
        del settings

    def endpoints(self, settings: ProgramSettings, *, is_offline: bool) -> EndpointsByName:
        """Return the endpoint of each role and model; see `SettingsApp.endpoints`."""
        common: dict[str, Any] = {
            "environ": os.environ,
            "retry": settings.retry,
            "trust": settings.trust,
            "is_offline": is_offline,
            "clients": {},
        }
        roles = endpoints_from_settings(settings.endpoints, **common)
        found: dict[str, Endpoint] = {role: roles[role] for role in roles}
        return found | dict(models_from_settings(settings.models, settings.endpoints, **common))

    @asynccontextmanager
    async def open(
        self,
        settings: BaseModel,
        *,
        folder: Path,
        recorder: Recorder | None = None,
        is_offline: bool = False,
        keep_checkpoints: bool = False,
    ) -> AsyncIterator[ProgramSession]:
        """Open a session; see `App.open`.

        Args:
            is_offline: play every call, at the endpoints that the recording names.
            keep_checkpoints: of no effect; a program's memory is as long as the session.

        Raises:
            ConfigError: when the program cannot be built, or a setting cannot work.
        """
        del keep_checkpoints
        knobs, notices = self.checked(settings), Notices()
        if is_offline:
            endpoints = self._recorded_endpoints(knobs, recorder)
        else:
            endpoints = self.endpoints(knobs, is_offline=False)
            LearnedEndpoints(folder, notices).follow(endpoints)
        replaying = None if recorder is None else Replaying(recorder)
        has_virtual_time = is_offline or all(
            endpoint.client.is_simulated for endpoint in endpoints.values()
        )
        budgeter = Budgeter(
            endpoints,
            clock=VirtualClock() if has_virtual_time else SystemClock(),
            recorder=replaying,
            limits=knobs.budget.run,
            retry=knobs.retry,
            policies=knobs.policies,
            seed=knobs.seed,
            secrets=_secret_values(knobs),
            max_kept_rows=0,
            notify=notices.tell,
        )
        session = ProgramSession(
            budgeter,
            limits=(knobs.budget.conversation, knobs.budget.turn),
            notices=notices,
            replaying=replaying,
            past=finished_turns(folder),
        )
        reporter: Reporter | None = None
        if knobs.metrics is not None and not is_offline:
            if knobs.metrics.textfile is not None:
                knobs.require_named("metrics.textfile", knobs.metrics.textfile)
            reporter = Reporter(
                budgeter.metrics(), knobs.metrics, folder=folder, notify=notices.tell
            )
        try:
            roles = [role for role in Role if role in endpoints]
            await session.build(self._build, self.name, roles)
            if reporter is not None:
                reporter.start()
            yield session
        finally:
            if reporter is not None:
                reporter.close()
            session.close()
            await budgeter.aclose()

    def _recorded_endpoints(
        self, settings: ProgramSettings, recorder: Recorder | None
    ) -> EndpointsByName:
        """Return endpoints that are named as in a recording, and answer nothing themselves."""
        recorded = recorder.answered_by() if isinstance(recorder, RunRecorder) else {}
        # A policy chooses by what the settings have of its models.
        known = self.endpoints(settings, is_offline=True) if settings.policies else {}
        endpoints: dict[str, Endpoint] = {}
        for asked in (*Role, *settings.models):
            if asked in known:
                usual = known[asked]
                name, model = recorded.get(asked, usual.identity)
                endpoints[asked] = replace(usual, name=name, model=model)
                continue
            name, model = recorded.get(asked, (f"offline-{asked}", "none"))
            own = settings.endpoints.get(Role(asked))
            prices = own.prices.prices() if own is not None and own.prices is not None else None
            endpoints[asked] = Endpoint(name, model, OfflineClient(), prices)
        return endpoints


def program_app(build: Any, target: str, missing: Sequence[str]) -> ProgramApp:
    """Return the app of a function that builds a program.

    Args:
        build: what the import string names.
        missing: what it lacks to be an app itself.

    Raises:
        ConfigError: when it is neither an app nor such a function.
    """
    if hasattr(build, "ainvoke"):
        raise ConfigError(
            f"{target!r} is a {type(build).__name__} whose model is built in: name a function "
            "build(model) that returns it, so that its model can be swapped"
        )
    if not callable(build):
        raise ConfigError(
            f"{target!r} is not an app: it has no {', '.join(missing)}, and it is no function "
            "build(model) that returns a program. Add what is missing (the base of an app is "
            "`SettingsApp` of callwise.recordings.app_protocol; `App` there lists its methods), or "
            "name such a function of a LangGraph or LangChain program, as docs/ci.md shows"
        )
    try:
        inspect.signature(build).bind(None)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{target!r} cannot be called with a model: {error}; name a function build(model) or "
            "build(models) that returns a program"
        ) from error
    return ProgramApp(build, target)


def _secret_values(settings: ProgramSettings) -> list[str]:
    names = {
        _KEY_VARIABLE,
        OPENAI_KEY_VARIABLE,
        *(
            each.api_key_env
            for asked in (*settings.endpoints.values(), *settings.models.values())
            for each in asked.candidates
        ),
    }
    return [os.environ[name] for name in sorted(names) if os.environ.get(name)]
