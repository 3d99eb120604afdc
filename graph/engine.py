"""What all turns share: the knobs, the budgeter, the memory, and the scopes that are open."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from graph.settings import Settings
from nodes.loader import load_turn
from turnwise.budget.budgeter import Budgeter
from turnwise.budget.scope import Scope, ScopeKind
from turnwise.calls import Endpoint, Role
from turnwise.memory import AgentUser
from turnwise.memory.book import MemoryBook

__all__ = ["Engine"]


@dataclass(slots=True)
class Engine:
    """The parts behind every turn of a session. One event loop.

    Args:
        settings: the knobs.
        budgeter: who answers calls, and counts them.
        endpoints: who serves each role, for names and prices.
        book: what agents remember.
    """

    settings: Settings
    budgeter: Budgeter
    endpoints: Mapping[Role, Endpoint]
    book: MemoryBook
    _conversations: dict[str, Scope] = field(default_factory=dict)
    _turns: dict[str, Scope] = field(default_factory=dict)

    def _conversation(self, conversation_id: str) -> Scope:
        scope = self._conversations.get(conversation_id)
        if scope is None:
            limits = self.settings.budget.conversation
            scope = self.budgeter.run.open(
                ScopeKind.CONVERSATION, conversation_id, limits=limits, after=()
            )
            self._conversations[conversation_id] = scope
        return scope

    def open_turn(self, conversation_id: str, turn: int) -> Scope:
        """Open a turn's scope. One that was left open, by a turn that broke off, is closed."""
        self.close_turn(conversation_id)
        conversation = self._conversation(conversation_id)
        scope = conversation.open(ScopeKind.TURN, str(turn), limits=self.settings.budget.turn)
        self._turns[conversation_id] = scope
        return scope

    def turn(self, conversation_id: str) -> Scope | None:
        """Return the open turn of a conversation, or None."""
        return self._turns.get(conversation_id)

    def close_turn(self, conversation_id: str) -> None:
        """Close the open turn of a conversation, if there is one."""
        scope = self._turns.pop(conversation_id, None)
        if scope is not None:
            scope.close()

    async def next_turn(self, agent_user: AgentUser, conversation_id: str) -> int:
        """Return the number of the turn that comes after a conversation's last one."""
        loaded = await load_turn(
            self.book, agent_user, conversation_id=conversation_id, turn=None, user_text=""
        )
        return loaded.turn

    def close(self) -> None:
        """Close every scope, and hold the ledger's identity one last time.

        Raises:
            LedgerError: when the books do not add up.
        """
        for conversation_id in list(self._turns):
            self.close_turn(conversation_id)
        for scope in self._conversations.values():
            scope.close()
        self._conversations.clear()
        self.budgeter.ledger.check()
