"""Arms of an experiment: one session that gives each turn to the session of its unit's arm.

Each arm has its settings, its budgeter and so its ledger; memory, recording, checkpoints and
notices are common. The arm of a call is in the path of its scope, in its row and in its turn's
record. A strict replay takes the recorded arm of a turn and decides nothing again; where the
shares of today would give another one, a notice names how many turns that are.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callwise.budget.recorder import ArmRecorder, Recorder
from callwise.budget.run_gate import Drained
from callwise.budget.shared_requests import SharedRequests
from callwise.calls.errors import ConfigError
from callwise.knobs.experiment import ExperimentKnobs
from callwise.memory.conversation_memory import ConversationMemory
from callwise.recordings.app_protocol import Notices, ReplyListener, TurnInput, TurnResult
from callwise.recordings.cassette import Cassette
from callwise.recordings.learned_endpoints import LearnedEndpoints
from callwise.recordings.replay_run import RunRecorder
from graph.reply_stream import ReplyStream
from graph.session import (
    CHECKPOINTS,
    CommonParts,
    ReplySession,
    open_checkpoints,
    open_memory,
    open_session,
)
from graph.settings import PipelineSettings
from graph.turn_record import in_arm

if TYPE_CHECKING:
    from graph.own_nodes import OwnNode

__all__ = ["SplitSession", "open_arms"]


@dataclass(slots=True)
class SplitSession:
    """An open reply pipeline whose conversations or users are split between arms.

    Args:
        sessions: the session of each arm.
        recorded: the arm by conversation and turn that a strict replay takes; empty otherwise.
    """

    experiment: ExperimentKnobs
    sessions: Mapping[str, ReplySession]
    notices: Notices
    recorded: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def arm_of(self, turn: TurnInput) -> str:
        """Return the arm of a turn.

        Raises:
            ConfigError: when it was recorded in an arm that the experiment does not have.
        """
        arm = self.experiment.arm_of_turn(turn.conversation_id, turn.user_id)
        recorded = self.recorded.get((turn.conversation_id, str(turn.turn)), arm)
        if recorded not in self.sessions:
            raise ConfigError(
                f"turn {turn.turn} of {turn.conversation_id!r} was recorded in the arm "
                f"{recorded!r}, and experiment {self.experiment.name!r} has the arms "
                f"{', '.join(self.sessions)}: replay it with the arms of its recording"
            )
        if recorded != arm:
            self.notices.add(
                f"experiment {self.experiment.name}: turns were recorded in other arms than the "
                "shares of today give them; the recorded arms are replayed"
            )
        return recorded

    async def run_turn(
        self, turn: TurnInput, *, on_reply: ReplyListener | None = None
    ) -> TurnResult:
        """Answer one user message in its arm; see `ReplySession.run_turn`."""
        arm = self.arm_of(turn)
        return in_arm(arm, await self.sessions[arm].run_turn(turn, on_reply=on_reply))

    def astream(self, turn: TurnInput) -> ReplyStream:
        """Begin to answer one user message in its arm; see `ReplySession.astream`."""
        arm = self.arm_of(turn)
        return self.sessions[arm].astream(turn, finish=partial(in_arm, arm))

    async def settle(self) -> None:
        """Wait for the turns of all arms that go on behind their replies."""
        for session in self.sessions.values():
            await session.settle()

    def statistics(self) -> Mapping[str, Any]:
        """Return the statistics of each arm by its name; see `ReplySession.statistics`."""
        return {arm: session.statistics() for arm, session in self.sessions.items()}

    async def drain(self, seconds: float, *, reason: str) -> Drained:
        """Accept no further call in any arm, and return once those under way have ended."""
        drains = (each.drain(seconds, reason=reason) for each in self.sessions.values())
        ended = await asyncio.gather(*drains)
        return Drained(sum(each.ended for each in ended), sum(each.cancelled for each in ended))


async def open_arms(
    settings: PipelineSettings,
    stack: AsyncExitStack,
    *,
    folder: Path,
    recorder: Recorder | None,
    is_offline: bool,
    keep_checkpoints: bool,
    memory: ConversationMemory | None = None,
    shared: SharedRequests | None = None,
    nodes: "tuple[OwnNode, ...]" = (),
) -> SplitSession:
    """Return an open session of an experiment; see `open_session`.

    Arms whose calls are sent alike share queues, rate limits and connections; others have them
    apart.

    Raises:
        ConfigError: when a setting of an arm cannot work; nothing was sent.
        FormatError: when the checkpoints in `folder` cannot be read.
        StoreFailed: when the memory in `folder` cannot be opened.
    """
    from graph.app import app  # noqa: PLC0415 - it imports us

    experiment = settings.experiment
    if experiment is None:
        raise ConfigError("there is no experiment to split")
    of_arms = {arm: settings.of_arm(arm) for arm in experiment.arms}
    if memory is None:
        memory = open_memory(settings, folder, stack)
    notices = Notices()
    checkpointer = None
    if keep_checkpoints:
        checkpointer = await open_checkpoints(folder / CHECKPOINTS, stack)
    learned = None if is_offline else LearnedEndpoints(folder, notices)
    common = CommonParts(notices, learned, checkpointer)
    requests: dict[str, SharedRequests] = {}
    sessions: dict[str, ReplySession] = {}
    for arm, knobs in of_arms.items():
        sending = None if is_offline else app.sending_of(knobs)
        if shared is None and sending is not None and sending not in requests:
            requests[sending] = SharedRequests()
            stack.push_async_callback(requests[sending].aclose)
        sessions[arm] = await open_session(
            knobs,
            stack,
            folder=folder,
            recorder=None if recorder is None else ArmRecorder(recorder, arm),
            is_offline=is_offline,
            keep_checkpoints=False,
            memory=memory,
            shared=requests.get(sending or "", shared),
            nodes=nodes,
            common=common,
            status_folder=folder / arm if shared is None else None,
        )
    first, *others = sessions.values()
    for session in others:
        session.engine.take_turns_with(first.engine)
    recorded: Mapping[tuple[str, str], str] = {}
    if is_offline and isinstance(recorder, Cassette | RunRecorder):
        recorded = recorder.arms()
    return SplitSession(experiment, sessions, notices, recorded)
