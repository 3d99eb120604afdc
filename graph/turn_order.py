"""Order of the turns of one memory: each begins once the one before has ended.

A turn reads the memory at its beginning and writes it at its end, so two of them side by side would
lose what one of them wrote. A run that has a memory gives it back when its turn ends. What ends
without its turn is reported by its driver (`Engine.break_off`); a run that a client has paused is
reported by none, so a graph server's turn waits for it for a limited time.
"""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field

from callwise.memory import AgentUser

__all__ = ["HeldMemory", "TurnOrder"]


@dataclass(frozen=True, slots=True, eq=False)
class HeldMemory:
    """A memory that a run has for its turn, and the event of its end."""

    run: Hashable
    was_left: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class TurnOrder:
    """The run that has the memory of each user. One event loop."""

    _held: dict[AgentUser, HeldMemory] = field(default_factory=dict)

    async def enter(
        self, agent_user: AgentUser, run: Hashable, *, patience_seconds: float | None = None
    ) -> None:
        """Wait until no other run has a turn of this memory.

        Args:
            run: the run of the turn. One that enters again gave up its turn before.
            patience_seconds: after so long a run that has not left is taken to have given up;
                None waits for it.
        """
        while (other := self._held.get(agent_user)) is not None and other.run != run:
            try:
                await asyncio.wait_for(other.was_left.wait(), patience_seconds)
            except TimeoutError:
                self.leave(agent_user, other.run)
        self.leave(agent_user, run)
        self._held[agent_user] = HeldMemory(run)

    def held(self, agent_user: AgentUser) -> HeldMemory | None:
        """Return what the run has whose turn of this memory is under way; None for no run."""
        return self._held.get(agent_user)

    def leave(self, agent_user: AgentUser, run: Hashable) -> None:
        """Allow the next turn of this memory to begin; do nothing where another run has one."""
        held = self._held.get(agent_user)
        if held is not None and held.run == run:
            del self._held[agent_user]
            held.was_left.set()
