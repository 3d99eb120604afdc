"""Agents that wake together: an intent call, one request per model, credits, an outbox, notes."""

from callwise.wake.agents import Agent, read_agents
from callwise.wake.hours import run_hours
from callwise.wake.rooms import OutgoingMessage, RoomMessage
from callwise.wake.service import WakeService
from callwise.wake.store import WakeStore
from callwise.wake.wake_knobs import WakeKnobs
from callwise.wake.wake_report import AgentReply, WakeReport

__all__ = [
    "Agent",
    "AgentReply",
    "OutgoingMessage",
    "RoomMessage",
    "WakeKnobs",
    "WakeReport",
    "WakeService",
    "WakeStore",
    "read_agents",
    "run_hours",
]
