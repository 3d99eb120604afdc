"""The same plan when every answer that must have a form has to be asked again."""

from dataclasses import replace

from turnwise.plan.steps import PlannedCall, Serial, Step, with_calls

__all__ = ["REPAIR_QUOTE_TOKENS", "REPAIR_WORDS_TOKENS", "with_repairs"]

REPAIR_WORDS_TOKENS = 80
"""Estimated tokens of the words that name the problem in one repair."""

REPAIR_QUOTE_TOKENS = 120
"""Estimated tokens of the part of a wrong answer that a repair quotes, if it is that long."""


def _repaired(call: PlannedCall, max_repairs: int) -> Step:
    """Return a call and its repairs, each with the problems before it in its prompt."""
    grown = min(call.output_tokens, REPAIR_QUOTE_TOKENS) + REPAIR_WORDS_TOKENS
    repairs = (
        replace(call, input_tokens=call.input_tokens + times * grown)
        for times in range(1, max_repairs + 1)
    )
    return Serial((call, *repairs))


def with_repairs(step: Step, max_repairs: int) -> Step:
    """Return the plan with every structured call repaired as often as it may be.

    Args:
        step: the plan.
        max_repairs: repairs of one call; 0 returns the plan as it is.
    """
    if max_repairs <= 0:
        return step
    return with_calls(
        step, lambda call: _repaired(call, max_repairs) if call.is_repairable else call
    )
