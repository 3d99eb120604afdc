"""Agents that wake together: an intent call, one request per model, credits, an outbox, notes."""

from callwise.wake.agent_memory import AgentMemory
from callwise.wake.agents import Agent
from callwise.wake.hours import run_hours
from callwise.wake.rooms import OutgoingMessage, RoomMessage
from callwise.wake.service import WakeService
from callwise.wake.store import WakeStore
from callwise.wake.wake_knobs import WakeKnobs
from callwise.wake.wake_report import AgentReply, WakeReport
from callwise.wake.wake_run import LiveChat, WakeListener, run_wakes
from callwise.wake.wake_settings import WakeSettings, read_wake_settings

__all__ = [
    "Agent",
    "AgentMemory",
    "AgentReply",
    "LiveChat",
    "OutgoingMessage",
    "RoomMessage",
    "WakeKnobs",
    "WakeListener",
    "WakeReport",
    "WakeService",
    "WakeSettings",
    "WakeStore",
    "read_wake_settings",
    "run_hours",
    "run_wakes",
]
