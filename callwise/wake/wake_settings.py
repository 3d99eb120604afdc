"""Settings of awake agents: one YAML file of endpoints, models, knobs, agents and their chat.

models:
  dsv3: {model: deepseek-chat}
wake: {room: plaza, intent_daily_calls: 1000}
agents:
  - {id: alice, persona: A retired sailor who answers in few words., model: dsv3}
messages:
  - {author: Mia, text: Is anyone up?, after_seconds: 600}
"""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from callwise.budget.limits import Limits
from callwise.budget.metrics import MetricsKnobs
from callwise.calls.call import Role
from callwise.calls.client import Client, Endpoint
from callwise.calls.endpoint_settings import OPENAI_KEY_VARIABLE
from callwise.calls.errors import ConfigError
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.retry import RetryPolicy
from callwise.calls.role_endpoints import (
    EndpointSettings,
    endpoints_from_settings,
    models_from_settings,
)
from callwise.calls.trust import TrustedSettings
from callwise.knobs import Overrides, load_preset, settings_from
from callwise.knobs.trace_knobs import TraceKnobs
from callwise.wake.agents import Agent, Mentions, check_agents, first_of
from callwise.wake.memory_stores import MemoryKnobs
from callwise.wake.wake_knobs import WakeKnobs

__all__ = ["SaidLine", "WakeSettings", "read_wake_settings"]

MAX_MESSAGES = 100_000
"""Most lines of people in a file."""


class SaidLine(BaseModel):
    """A line that a person writes into the chat."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    author: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
    """The person. No name of an agent."""
    text: Annotated[str, StringConstraints(min_length=1)]
    """The message. `@` and an agent's id or name wake that agent immediately."""
    after_seconds: Annotated[float, Field(ge=0.0, le=366 * 86_400.0)] = 0.0
    """Time from the start until it is said."""
    to: Annotated[str, StringConstraints(max_length=64)] = ""
    """Id or name of an agent that it is for, whether its text mentions it or not."""


class WakeSettings(TrustedSettings):
    """Every knob of awake agents, and the agents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoints: Mapping[Role, EndpointSettings] = {}
    """Endpoints by role: `fast` answers the intent call, and `main` is what models inherit from."""
    models: Mapping[str, EndpointSettings] = {}
    """Endpoints by the name that agents give as their `model`."""
    retry: RetryPolicy = RetryPolicy()
    """Retries of failed attempts."""
    load: LoadKnobs = LoadKnobs()
    """Time and company in which calls are sent; batches are those of `wake.chat_path`."""
    limits: Limits = Limits()
    """Limits of one wake, and of one message with the agents that it addresses."""
    wake: WakeKnobs = WakeKnobs()
    """Agents that wake: in which requests, with which delays, for which credits."""
    memory: MemoryKnobs = MemoryKnobs()
    """Place of the agents' notes."""
    metrics: MetricsKnobs | None = Field(default=None, exclude=True)
    """Metrics of a run while it goes on; no part of a recording."""
    traces: TraceKnobs = Field(default=TraceKnobs(), exclude=True)
    """Spans of each wake, each answered message and their calls; no part of a recording."""
    agents: tuple[Agent, ...]
    """The agents, in the order in which the intent call lists them."""
    messages: Annotated[tuple[SaidLine, ...], Field(max_length=MAX_MESSAGES)] = ()
    """Lines that people write while the agents are awake."""

    @model_validator(mode="after")
    def _agents_have_models(self) -> Self:
        check_agents(self.agents)
        unknown = {each.model: each.id for each in self.agents if each.model not in self.models}
        if unknown:
            named = [f"{model!r} (of {agent})" for model, agent in unknown.items()]
            raise ValueError(
                f"agents name models that `models` does not have: {first_of(named, ', ')}; it has "
                f"{first_of([*self.models], ', ') or 'none'}"
            )
        names = Mentions(self.agents)
        if agent := next((each for each in self.messages if names.is_name(each.author)), None):
            raise ValueError(f"author {agent.author!r} is an agent. Use the name of a person")
        if line := next(
            (one for one in self.messages if one.to and not names.agent_of(one.to)), None
        ):
            raise ValueError(
                f"a message of {line.author!r} is for {line.to!r}, which is no agent. Use an "
                "agent's id, or a name that only one has"
            )
        return self

    def secrets(self, environ: Mapping[str, str]) -> list[str]:
        """Return the keys that are in use, so that they can be kept out of every error."""
        asked = (*self.endpoints.values(), *self.models.values())
        names = {each.api_key_env for one in asked for each in one.candidates}
        names |= {"CALLWISE_API_KEY", OPENAI_KEY_VARIABLE}
        return [environ[name] for name in sorted(names) if environ.get(name)]

    def served_by(self, environ: Mapping[str, str]) -> dict[str, Endpoint]:
        """Return the endpoints of the roles and of the models, by name.

        Args:
            environ: environment variables.

        Raises:
            ConfigError: when one is incomplete, or only a file names it.
            MissingKey: when a key is missing.
        """
        clients: dict[Hashable, Client] = {}
        roles = endpoints_from_settings(
            self.endpoints, environ=environ, retry=self.retry, trust=self.trust, clients=clients
        )
        models = models_from_settings(
            self.models,
            self.endpoints,
            environ=environ,
            retry=self.retry,
            trust=self.trust,
            clients=clients,
        )
        return {**{str(role): each for role, each in roles.items()}, **models}


def read_wake_settings(
    path: Path, *, overrides: Overrides = (), environ: Mapping[str, str], is_shipped: bool = False
) -> WakeSettings:
    """Return the settings of a YAML file, with the environment and overrides laid over them.

    Args:
        path: the file. What it names of endpoints is not trusted, unless it is shipped.
        overrides: `knob=value` texts, such as `wake.variant=mixed`.
        environ: environment variables.

    Raises:
        ConfigError: for an unknown knob, or a value out of range; lists each.
        FormatError: when the file cannot be read.
    """
    if not path.is_file():
        raise ConfigError(f"there is no file of agents {path}. `callwise wake --demo` needs none")
    data = load_preset(path, path.parent, is_large=True)
    return settings_from(
        WakeSettings, data, overrides=overrides, environ=environ, is_file=not is_shipped
    )
