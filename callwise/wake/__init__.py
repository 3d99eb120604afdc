"""Agents that wake: their credits, chat rooms, memories, and the claims of their schedulers."""

from callwise.wake.rooms import OutgoingMessage, RoomMessage
from callwise.wake.store import WakeStore

__all__ = ["OutgoingMessage", "RoomMessage", "WakeStore"]
