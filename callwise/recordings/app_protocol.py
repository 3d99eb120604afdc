"""Interface of an application, for the command line and the replay runner.

Callwise depends on no pipeline. An app is loaded by an import string such as
`graph.app:app`; anything that fits `App` can be planned, run, replayed and reported. A function
that builds a LangGraph or LangChain program around a model is made one; see `program`.
"""

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast, runtime_checkable

from pydantic import BaseModel

from callwise.budget.recorder import Recorder
from callwise.budget.run_gate import Drained
from callwise.calls.call import Role
from callwise.calls.client import EndpointsByName
from callwise.calls.errors import ConfigError
from callwise.calls.payload import well_formed, well_formed_id
from callwise.calls.trust import Trust, import_folder
from callwise.knobs import EnvironmentKnob, Overrides, environment_knobs, own_trust
from callwise.knobs.knob_paths import nearest_names
from callwise.shipped import load_shipped_packages, prefer_folder

if TYPE_CHECKING:
    from callwise.budget.shared_requests import SharedRequests
    from callwise.memory.conversation_memory import ConversationMemory

__all__ = [
    "SHIPPED_APP",
    "App",
    "CanDrain",
    "HasArms",
    "HasNotices",
    "Notices",
    "PromptDigests",
    "ReadsEnvironment",
    "ReplyListener",
    "Session",
    "SettingsApp",
    "SnapshotStart",
    "TurnInput",
    "TurnResult",
    "answering_models",
    "load_app",
    "simulated_roles",
]

SettingsT = TypeVar("SettingsT", bound=BaseModel)

SHIPPED_APP = "graph.app:app"
"""Import string of the app that comes with Callwise: the only one that a file may name."""

MAX_TURN = 2**63 - 1
"""Highest number of a turn, that of a whole number in a store."""


@dataclass(frozen=True, slots=True)
class TurnInput:
    """One user message, and where it belongs. Every text is made whole; ids still differ then.

    A value that does not fit raises ConfigError.

    Args:
        conversation_id: the conversation; untrusted, never a path.
        turn: which turn, from 0 to `MAX_TURN`; None goes on after the last finished one.
        user_text: what the user wrote. Untrusted.
        user_id: whose memory is used; None or blank has a memory of this conversation alone.
        time: when it was written, ISO 8601, where known.
        persona: who answers: `name`, `background`, `speaking_style`; empty is the app's own.
    """

    conversation_id: str
    turn: int | None
    user_text: str
    user_id: str | None = None
    time: str | None = None
    persona: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        """Check the values, and make every text whole."""
        self._check_types()
        object.__setattr__(self, "user_text", well_formed(self.user_text))
        object.__setattr__(self, "conversation_id", well_formed_id(self.conversation_id))
        user_id = well_formed_id(self.user_id or "")
        object.__setattr__(self, "user_id", user_id if user_id.strip() else None)
        if self.persona:
            persona = {name: well_formed(text) for name, text in self.persona.items()}
            object.__setattr__(self, "persona", persona)

    def _check_types(self) -> None:
        values: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        turn, persona = values["turn"], values["persona"] or {}
        fits = {name: isinstance(value, str) for name, value in values.items()}
        fits |= {name: fits[name] or values[name] is None for name in ("user_id", "time")}
        fits["conversation_id"] &= bool(self.conversation_id)
        fits["turn"] = turn is None or (type(turn) is int and 0 <= turn <= MAX_TURN)
        fits["persona"] = isinstance(persona, Mapping) and {str} >= set(map(type, persona.values()))
        kinds = {"turn": f"a whole number from 0 to {MAX_TURN:,}", "persona": "a mapping of texts"}
        kinds |= {"conversation_id": "a text that is not empty"}
        for name in (name for name in values if not fits[name]):
            raise ConfigError(f"`{name}` is {kinds.get(name, 'a text')}, got {values[name]!r:.60}")

    @property
    def memory_owner(self) -> tuple[str, str]:
        """The memory that it uses: `("user", id)` or, without one, `("conversation", id)`."""
        if self.user_id is None:
            return "conversation", self.conversation_id
        return "user", self.user_id


@dataclass(frozen=True, slots=True)
class TurnResult:
    """One finished turn.

    Args:
        record: a JSON object, one line of `turns.jsonl`; has at least `conversation_id`, `turn`,
            `user_text` and `reply`.
        rows: its ledger rows as JSON objects, in the order they were asked.
        outside: likewise, of calls outside of turns that have ended since.
    """

    record: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    outside: Sequence[Mapping[str, Any]] = ()


ReplyListener = Callable[[str, Sequence[Mapping[str, Any]]], Awaitable[None]]
"""Called with the reply and its bubbles once they are out, before the bookkeeping ends."""


class Session(Protocol):
    """An open app: connections, memory and a budgeter."""

    async def run_turn(
        self, turn: TurnInput, *, on_reply: ReplyListener | None = None
    ) -> TurnResult:
        """Answer one user message and do the bookkeeping after it."""
        ...


class Notices:
    """Notices of a session for its user, each once, in the order in which they came up.

    Attributes:
        texts: all that is worth keeping.
        listener: called with each, and with passing ones such as progress.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.listener: Callable[[str], None] | None = None

    def add(self, text: str) -> None:
        """Keep a text and show it, unless it is kept already."""
        if text not in self.texts:
            self.texts.append(text)
            self.tell(text)

    def tell(self, text: str) -> None:
        """Show a text that is not kept, such as progress."""
        if self.listener is not None:
            self.listener(text)


@runtime_checkable
class CanDrain(Protocol):
    """A session that can end in order: no further call is accepted, those under way are settled."""

    async def drain(self, seconds: float, *, reason: str) -> Drained:
        """Return once all calls under way have ended; see `Budgeter.drain`."""
        ...


@runtime_checkable
class HasNotices(Protocol):
    """A session with notices for the user."""

    notices: Notices


class App(Protocol):
    """An application that Callwise can plan, run, replay and report."""

    @property
    def name(self) -> str:
        """Its name, as in run manifests."""
        ...

    def presets(self) -> Sequence[str]:
        """Return the names of its presets."""
        ...

    def settings(self, preset: str | None, overrides: Overrides = ()) -> BaseModel:
        """Return the knobs of a preset, or of the default one, with `knob=value` overrides.

        Raises:
            ConfigError: for an unknown preset or knob (names the nearest), or a value
                out of range (names the range).
        """
        ...

    def settings_model(self) -> type[BaseModel]:
        """Return the model of its knobs, so that they can be listed and explained."""
        ...

    def plan(self, settings: BaseModel) -> Any:
        """Return the call plan of one turn, a `callwise.plans.TurnPlan`; None where not known."""
        ...

    def is_simulated(self, settings: BaseModel) -> bool:
        """Return whether all answers under these settings would be simulated."""
        ...

    def open(
        self,
        settings: BaseModel,
        *,
        folder: Path,
        recorder: Recorder | None = None,
        is_offline: bool = False,
        keep_checkpoints: bool = False,
    ) -> AbstractAsyncContextManager[Session]:
        """Open a session whose memory is in `folder`.

        Args:
            is_offline: never build a client that could reach the network.
            keep_checkpoints: also keep the graph's own checkpoints in the folder.
        """
        ...


@runtime_checkable
class HasArms(Protocol):
    """An app whose settings may split conversations between arms."""

    def arms(self, settings: BaseModel) -> Mapping[str, BaseModel]:
        """Return the settings of each arm of an experiment; none of settings that split nothing."""
        ...


@runtime_checkable
class PromptDigests(Protocol):
    """An app that lists its prompts, so that a changed one can be named."""

    def prompt_digests(self) -> Mapping[str, str]:
        """Return a digest of each prompt, by name."""
        ...


@runtime_checkable
class ReadsEnvironment(Protocol):
    """An app whose settings take knobs, endpoints among them, from environment variables."""

    def environment_knobs(self) -> Sequence[EnvironmentKnob]:
        """Return the knobs that the environment sets now."""
        ...

    def own_trust(self) -> Trust:
        """Return the endpoints and folders that the environment names."""
        ...


class SettingsApp(ABC, Generic[SettingsT]):
    """Base of apps whose settings are one pydantic model that names endpoints.

    Attributes:
        model: the model of the knobs.
    """

    model: type[SettingsT]

    def settings_model(self) -> type[SettingsT]:
        """Return the model of the knobs."""
        return self.model

    def own_trust(self) -> Trust:
        """Return the endpoints and folders that the environment names."""
        return own_trust(self.model, (), os.environ)

    def environment_knobs(self) -> Sequence[EnvironmentKnob]:
        """Return the knobs that the environment sets."""
        return environment_knobs(os.environ, self.model)

    def is_simulated(self, settings: BaseModel) -> bool:
        """Return whether every role would be answered by a simulated model."""
        # A missing key does not make a model simulated, and nothing is sent to find out.
        endpoints = self.endpoints(self.checked(settings), is_offline=True)
        return all(endpoint.client.is_simulated for endpoint in endpoints.values())

    def checked(self, settings: BaseModel) -> SettingsT:
        """Return settings that are of this app's model.

        Raises:
            ConfigError: when they are of another.
        """
        if not isinstance(settings, self.model):
            expected, got = self.model.__name__, type(settings).__name__
            raise ConfigError(f"expected settings of the type {expected}, got {got}")
        return settings

    @abstractmethod
    def endpoints(self, settings: SettingsT, *, is_offline: bool) -> EndpointsByName:
        """Return the endpoint of each role.

        Args:
            is_offline: never build a client that could reach the network.
        """


def answering_models(app: App, settings: BaseModel) -> list[tuple[str, str, str]]:
    """Return role, endpoint and model of what would answer, in order; nothing is sent.

    An app that does not name its endpoints has one line, with whether it is simulated.
    """
    if not isinstance(app, SettingsApp):
        return [("", "", "simulated" if app.is_simulated(settings) else "")]
    endpoints: EndpointsByName = app.endpoints(app.checked(settings), is_offline=True)
    return sorted((str(role), *endpoint.identity) for role, endpoint in endpoints.items())


def simulated_roles(app: App, settings: BaseModel) -> dict[Role, bool]:
    """Return whether each role would be answered by a simulated model; nothing is sent."""
    if not isinstance(app, SettingsApp):
        return dict.fromkeys(Role, app.is_simulated(settings))
    endpoints: EndpointsByName = app.endpoints(app.checked(settings), is_offline=True)
    simulated = {name: each.client.is_simulated for name, each in endpoints.items()}
    return {role: simulated[role] for role in Role if role in simulated}


@runtime_checkable
class SnapshotStart(App, Protocol):
    """An app that can be given a memory, so that other settings can start from one past."""

    def open(
        self,
        settings: BaseModel,
        *,
        folder: Path,
        recorder: Recorder | None = None,
        is_offline: bool = False,
        keep_checkpoints: bool = False,
        memory: "ConversationMemory | None" = None,
    ) -> AbstractAsyncContextManager[Session]:
        """Open a session on `memory`, or on a memory in `folder`."""
        ...


_RENAMED = {"plan": "plans", "replay": "recordings", "tune": "tuning"}
"""Packages of earlier versions, by the name of the present one."""


def _moved(module: str | None) -> str:
    """Return where the names of a module of an earlier version are now; empty for others.

    Args:
        module: that was not found; the root alone under the project's earlier name.
    """
    root, _, rest = (module or "").partition(".")
    package = rest.partition(".")[0]
    if root not in {"callwise", "turnwise"}:
        return ""
    now = ".".join(filter(None, ("callwise", _RENAMED.get(package, package))))
    words = (
        ". Modules of Callwise were moved, and public names are in `callwise` and its packages. "
        f"Import them from `{now}`, whose `__all__` lists them"
    )
    if package:
        return words
    renamed = ", ".join(f"`{old}` is `callwise.{new}`" for old, new in _RENAMED.items())
    return f"{words}; {renamed} now"


def load_app(target: str) -> App:
    """Return the app that an import string names.

    Args:
        target: `module:attribute`, from the user and never from a file. The working
            directory is importable for it, and for no app that is shipped; see `shipped`.

    Raises:
        ConfigError: when it cannot be imported, when another module of its name is imported
            already, or when it is not an app.
    """
    module_name, separator, attribute = target.partition(":")
    if not separator or not module_name or not attribute:
        raise ConfigError(
            f"an app is named as module:attribute, e.g. graph.app:app; got {target!r}"
        )
    if target == SHIPPED_APP:
        load_shipped_packages()
    else:
        import_folder()
        prefer_folder(module_name)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        hint = ""
        if module_name.endswith(".py"):
            module_name = module_name.removesuffix(".py").replace("/", ".").strip(".")
            hint = f". An app is named by its module: did you mean {module_name}:{attribute}?"
        raise ConfigError(
            f"cannot import {target.partition(':')[0]!r} of the app {target!r}: {error}{hint}"
            f"{_moved(error.name)}"
        ) from error
    if not hasattr(module, attribute):
        names = [name for name, each in vars(module).items() if callable(each) and name[0] != "_"]
        nearest = nearest_names(attribute, names)
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        raise ConfigError(f"{module_name} has no {attribute!r}{hint}")
    app: Any = getattr(module, attribute, None)
    missing = [
        name for name in ("settings", "plan", "open") if not callable(getattr(app, name, None))
    ]
    if not missing:
        return cast("App", app)
    from callwise.recordings.program import program_app  # noqa: PLC0415 - it imports us

    return program_app(app, target, missing)


@runtime_checkable
class SharesRequests(SnapshotStart, Protocol):
    """An app whose sessions can send their calls in common requests, under common limits."""

    def sending_of(self, settings: BaseModel) -> str | None:
        """Return all that decides how calls of settings are sent; None where none can be shared.

        Sessions of equal texts may be given one `SharedRequests`.
        """
        ...

    def open(
        self,
        settings: BaseModel,
        *,
        folder: Path,
        recorder: Recorder | None = None,
        is_offline: bool = False,
        keep_checkpoints: bool = False,
        memory: "ConversationMemory | None" = None,
        shared: "SharedRequests | None" = None,
    ) -> AbstractAsyncContextManager[Session]:
        """Open a session whose calls go by way of `shared`, which the caller closes after it."""
        ...
