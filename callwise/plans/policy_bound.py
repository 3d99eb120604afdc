"""Calls that a plan has in place of planned ones: those of policies, and packed ones.

A policy's are the most that it makes of one call: each escalation, sample and check. Packed are
calls of one round and purpose, as `callwise.calls.packing` packs them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from callwise.calls.call import Purpose, Role
from callwise.calls.policies import DEFAULT_POLICY, CascadePolicy, EnsemblePolicy, PolicyKnobs
from callwise.plans.bound import InParallel, InSequence, PlannedCall, Step, with_calls

__all__ = ["NO_PACKS", "PackSizes", "packed_calls", "with_packs", "with_policies"]

PackSizes = Mapping[str, int]
"""Most questions of one prompt by purpose, or `default`; no calls of another purpose are packed."""

NO_PACKS: PackSizes = MappingProxyType({})

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


def packed_calls(
    calls: Sequence[PlannedCall], sizes: PackSizes
) -> tuple[list[PlannedCall], list[PlannedCall]]:
    """Return the packed calls of a round, and its calls that are asked alone."""
    kinds: dict[tuple[Role, Purpose], list[PlannedCall]] = {}
    for call in calls:
        kinds.setdefault((call.role, call.purpose), []).append(call)
    packs: list[PlannedCall] = []
    alone: list[PlannedCall] = []
    for (_, purpose), alike in kinds.items():
        size = sizes.get(purpose) or sizes.get(DEFAULT_POLICY) or 1
        for start in range(0, len(alike), size):
            together = alike[start : start + size]
            if len(together) < 2:
                alone += together
                continue
            sent = sum(call.input_tokens for call in together)
            written = sum(call.output_tokens for call in together)
            packs.append(replace(together[0], input_tokens=sent, output_tokens=written))
    return packs, alone


def with_packs(calls: Sequence[PlannedCall], sizes: PackSizes, *, fails: bool) -> Step:
    """Return the calls of one round, as they are packed.

    Args:
        fails: whether no packed call gets an answer, so that all questions are asked alone.
    """
    packs, alone = packed_calls(calls, sizes)
    first = InParallel((*alone, *packs))
    if not (fails and packs):
        return first
    again = list(calls)
    for call in alone:
        again.remove(call)
    return InSequence((first, InParallel(tuple(again))))


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
