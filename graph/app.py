"""The reply pipeline as an app; the command line loads it as `graph.app:app`.

Light to import: LangGraph and the clients are loaded when a session opens.
"""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from callwise.budget.recorder import Recorder
from callwise.calls.client import EndpointsByName
from callwise.knobs import (
    Overrides,
    is_preset_file,
    load_preset,
    preset_names,
    settings_from,
)
from callwise.plans import TurnPlan
from callwise.recordings.app_protocol import SettingsApp
from callwise.shipped import configs_folder
from graph.settings import PipelineSettings

if TYPE_CHECKING:
    from callwise.budget.shared_requests import SharedRequests
    from callwise.memory.conversation_memory import ConversationMemory
    from graph.arms import SplitSession
    from graph.own_nodes import OwnNode
    from graph.session import ReplySession

__all__ = ["ReplyPipeline", "app"]


@dataclass(frozen=True, slots=True)
class _Planned:
    """Settings of a plan; two are equal when all their knobs are.

    Args:
        knobs: all values, as text: settings cannot be hashed.
    """

    knobs: str
    settings: PipelineSettings = field(compare=False)


@lru_cache(maxsize=64)
def _planned(planned: _Planned) -> TurnPlan:
    """Return a plan, which is 19 ms of work; a sweep asks for that of one setting repeatedly."""
    from graph.turn_scenarios import plan_turn  # noqa: PLC0415 - loads the nodes

    return plan_turn(planned.settings)


class ReplyPipeline(SettingsApp[PipelineSettings]):
    """The reply pipeline, as `callwise.recordings.app_protocol.App` wants it."""

    name = "reply"
    model = PipelineSettings

    def __init__(self, nodes: "Sequence[OwnNode]" = ()) -> None:
        """Return the pipeline, with nodes of a program's own; see `graph.own_nodes`.

        Raises:
            ConfigError: when one has no place.
        """
        self._nodes: tuple[OwnNode, ...] = ()
        if nodes:
            from graph.own_nodes import checked_nodes  # noqa: PLC0415 - loads the nodes

            self._nodes = checked_nodes(nodes)

    def presets(self) -> Sequence[str]:
        """Return the names of the shipped presets."""
        return preset_names(configs_folder())

    def settings(self, preset: str | None, overrides: Overrides = ()) -> PipelineSettings:
        """Return the knobs of a preset, the environment's over them, and overrides over both.

        Without a preset they are those of `classic`. A preset that is named by its file's path
        is not trusted: the settings know which of its values overrides and the environment name
        as well.

        Raises:
            ConfigError: for an unknown preset or knob, or a value out of range; of an arm too.
            FormatError: for a preset file, or a rollout's state, that cannot be read.
        """
        preset = preset or "classic"
        data = load_preset(preset, configs_folder())
        data["preset"] = Path(preset).stem
        settings = settings_from(
            PipelineSettings,
            data,
            overrides=overrides,
            environ=os.environ,
            is_file=is_preset_file(preset),
        )
        if (experiment := settings.experiment) is None:
            return settings
        for arm in experiment.arms:
            settings.of_arm(arm)
        return settings.model_copy(update={"experiment": experiment.at_stage()})

    def arms(self, settings: BaseModel) -> dict[str, PipelineSettings]:
        """Return the settings of each arm of an experiment; none of settings that split nothing."""
        checked = self.checked(settings)
        arms = () if checked.experiment is None else checked.experiment.arms
        return {arm: checked.of_arm(arm) for arm in arms}

    def is_simulated(self, settings: BaseModel) -> bool:
        """Return whether every role would be answered by a simulated model, in every arm."""
        every = list(self.arms(settings).values()) or [self.checked(settings)]
        return all(super(ReplyPipeline, self).is_simulated(each) for each in every)

    def plan(self, settings: BaseModel) -> TurnPlan | None:
        """Return the plan of one turn under these knobs; see `graph.turn_scenarios`.

        Of an experiment each of the `arms` has one, and their mixture has none.
        """
        checked = self.checked(settings)
        if checked.experiment is not None:
            return None
        if self._nodes:
            from graph.turn_scenarios import plan_turn  # noqa: PLC0415 - loads the nodes

            return plan_turn(checked, self._nodes)
        return _planned(_Planned(repr(checked.model_dump()), checked))

    def prompt_digests(self) -> Mapping[str, str]:
        """Return the digest of each prompt, as 16 hexadecimal digits by name and language."""
        from nodes.prompt import prompt_digests, text_digest  # noqa: PLC0415 - reads files

        own = {name: text_digest(text) for node in self._nodes for name, text in node.texts}
        return {**prompt_digests(), **own}

    def endpoints(self, settings: PipelineSettings, *, is_offline: bool) -> EndpointsByName:
        """Return the endpoint of each role; see `SettingsApp.endpoints`."""
        from graph.endpoints import endpoints_of  # noqa: PLC0415 - loads the memory

        return endpoints_of(settings, is_offline=is_offline)

    @asynccontextmanager
    async def open(
        self,
        settings: BaseModel,
        *,
        folder: Path,
        recorder: Recorder | None = None,
        is_offline: bool = False,
        keep_checkpoints: bool = False,
        memory: "ConversationMemory | None" = None,
        shared: "SharedRequests | None" = None,
    ) -> AsyncIterator["ReplySession | SplitSession"]:
        """Open a session whose memory is `memory`, or in `folder`; see `SharesRequests.open`."""
        from graph.arms import open_arms  # noqa: PLC0415 - loads LangGraph
        from graph.session import open_session  # noqa: PLC0415 - loads LangGraph

        checked = self.checked(settings)
        async with AsyncExitStack() as stack:
            opening = open_session if checked.experiment is None else open_arms
            yield await opening(
                checked,
                stack,
                folder=folder,
                recorder=recorder,
                is_offline=is_offline,
                keep_checkpoints=keep_checkpoints,
                memory=memory,
                shared=shared,
                nodes=self._nodes,
            )

    def sending_of(self, settings: BaseModel) -> str | None:
        """Return all that decides how calls are sent; see `SharesRequests.sending_of`."""
        knobs = self.checked(settings)
        if knobs.load.fleet is not None:  # each process has its share, and a session is one
            return None
        if knobs.experiment is not None:  # its arms may be sent in several ways
            return None
        # The seed is that of simulated answers and of the jitter between attempts.
        names = {"endpoints", "models", "load", "retry", "seed"}
        given = knobs.model_dump_json(include=names, exclude_unset=True)
        return given + knobs.model_dump_json(include=names)


app = ReplyPipeline()
