"""The most calls that a policy makes of one planned call: each escalation, sample and check."""

from collections.abc import Mapping
from dataclasses import replace

from callwise.calls.call import Purpose, Role
from callwise.calls.policies import DEFAULT_POLICY, CascadePolicy, EnsemblePolicy, PolicyKnobs
from callwise.plans.bound import InParallel, InSequence, PlannedCall, Step, with_calls

__all__ = ["with_policies"]

CHECK_TOKENS = (200, 60)
"""Estimated tokens of a check beyond the request and the answer, and of the judge's answer."""


def with_policies(step: Step, policies: Mapping[str, PolicyKnobs]) -> Step:
    """Return a plan in which each chat call has all calls that its policy may ask in its place.

    Args:
        policies: by purpose, or `default`.
    """
    if not any(isinstance(each, CascadePolicy | EnsemblePolicy) for each in policies.values()):
        return step

    def most(call: PlannedCall) -> Step:
        knobs = policies.get(call.purpose) or policies.get(DEFAULT_POLICY)
        if call.role is Role.EMBED or knobs is None:
            return call
        match knobs:
            case CascadePolicy():
                return _cascade(call, knobs)
            case EnsemblePolicy():
                members = InParallel(tuple(_at(call, model) for model in knobs.models))
                last = (_at(call, knobs.otherwise),) if knobs.otherwise else ()
                return InSequence((members, *last))
            case _:
                return call

    return with_calls(step, most)


def _cascade(call: PlannedCall, knobs: CascadePolicy) -> Step:
    *small, last = knobs.models
    steps: list[Step] = []
    for model in small:
        asked = _at(call, model)
        if knobs.by == "agreement":
            steps.append(InParallel((asked,) * knobs.samples))
        else:
            steps.append(asked)
        if knobs.by == "judge":
            more, written = CHECK_TOKENS
            tokens = call.input_tokens + call.output_tokens + more
            check = replace(asked, role=Role.JUDGE, purpose=Purpose.CHECK, input_tokens=tokens)
            steps.append(_at(replace(check, output_tokens=written), knobs.judge))
    return InSequence((*steps, _at(call, last)))


def _at(call: PlannedCall, model: str) -> PlannedCall:
    """Return a call as one to a model or role; limits and counts stay those of its role."""
    return replace(call, model=model)
