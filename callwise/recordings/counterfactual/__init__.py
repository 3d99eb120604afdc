"""Any other setting, evaluated from one recording, and what of it is not recorded."""

from callwise.recordings.counterfactual.evaluation import CounterfactualTurn, evaluate, record_past
from callwise.recordings.counterfactual.reusable_cassette import MissingCall, Tape

__all__ = ["CounterfactualTurn", "MissingCall", "Tape", "evaluate", "record_past"]
