"""What one call is, and who answers it. The ground floor: imports nothing above."""

from turnwise.calls.call import Call, Message, Origin, Outcome, Purpose, Role, Sampling
from turnwise.calls.client import Advisory, Asker, Client, Endpoint, Prices
from turnwise.calls.errors import CallError, CallRefused, ConfigError, FormatError, TurnwiseError
from turnwise.calls.key import CallKey, call_key
from turnwise.calls.reply import Reply, Usage

__all__ = [
    "Advisory",
    "Asker",
    "Call",
    "CallError",
    "CallKey",
    "CallRefused",
    "Client",
    "ConfigError",
    "Endpoint",
    "FormatError",
    "Message",
    "Origin",
    "Outcome",
    "Prices",
    "Purpose",
    "Reply",
    "Role",
    "Sampling",
    "TurnwiseError",
    "Usage",
    "call_key",
]
