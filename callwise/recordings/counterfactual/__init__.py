"""Any other setting, evaluated from one recording, and what of it is not recorded."""

from callwise.recordings.counterfactual.evaluation import CounterfactualTurn, evaluate, record_past
from callwise.recordings.counterfactual.reusable_cassette import MissingCall, ReusableCassette

__all__ = ["CounterfactualTurn", "MissingCall", "ReusableCassette", "evaluate", "record_past"]
