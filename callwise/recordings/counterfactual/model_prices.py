"""Prices of calls that are not recorded, where a policy may have another model answer them.

A stand-in costs what its own model cost. A call that another model would answer has the tokens of
its stand-in, at the other model's prices.
"""

from collections.abc import Mapping
from dataclasses import replace

from pydantic import BaseModel

from callwise.budget.recorder import RecordedExchange
from callwise.budget.usage import to_picodollars
from callwise.calls.call import Call
from callwise.calls.client import Prices
from callwise.recordings.app_protocol import SettingsApp
from callwise.recordings.recording import Recording

__all__ = ["ModelPrices", "model_prices", "repriced"]

ModelPrices = Mapping[str, Prices | None]
"""Prices by name of a model or role; None where they are not known."""


def model_prices(recording: Recording, settings: BaseModel) -> ModelPrices:
    """Return the prices of all models where policies choose among them; nothing elsewhere."""
    if not getattr(settings, "policies", None) or not isinstance(recording.app, SettingsApp):
        return {}
    endpoints = recording.app.endpoints(recording.app.checked(settings), is_offline=True)
    return {str(name): endpoint.prices for name, endpoint in endpoints.items()}


def repriced(stand_in: RecordedExchange, call: Call, prices: ModelPrices) -> RecordedExchange:
    """Return a stand-in at the price of the model that would answer the call."""
    name = call.model or call.role
    if name not in prices:
        return stand_in
    usage, own = stand_in.usage, prices[name]
    if own is None:
        return replace(stand_in, usage=usage._replace(picodollars=0, unknown_usd=usage.requests))
    usd = own.usd(usage.input_tokens, usage.output_tokens, usage.cached_tokens)
    return replace(stand_in, usage=usage._replace(picodollars=to_picodollars(usd), unknown_usd=0))
