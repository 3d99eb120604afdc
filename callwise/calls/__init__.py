"""Calls, replies, clients and errors: the lowest layer, which imports no other package."""

from callwise.calls.call import Call, Message, Origin, Outcome, Priority, Purpose, Role, Sampling
from callwise.calls.client import LLM, Client, Endpoint, Prices, Remaining
from callwise.calls.delivery import Delivery
from callwise.calls.errors import CallError, CallRefused, CallwiseError, ConfigError, FormatError
from callwise.calls.key import CallKey, call_key
from callwise.calls.reply import Reply, ReportedUsage

__all__ = [
    "LLM",
    "Call",
    "CallError",
    "CallKey",
    "CallRefused",
    "CallwiseError",
    "Client",
    "ConfigError",
    "Delivery",
    "Endpoint",
    "FormatError",
    "Message",
    "Origin",
    "Outcome",
    "Prices",
    "Priority",
    "Purpose",
    "Remaining",
    "Reply",
    "ReportedUsage",
    "Role",
    "Sampling",
    "call_key",
]
