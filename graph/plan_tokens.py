"""How long the prompts and answers of a planned call are taken to be."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from graph.settings import SamplingKnobs, sampling_of
from turnwise.calls.call import Purpose, Role
from turnwise.plan.steps import PlannedCall

__all__ = [
    "CANDIDATE_TOKENS",
    "ESTIMATED_TOKENS",
    "FUSED_TOKENS",
    "LIST_TOKENS",
    "Tokens",
    "limited_call",
    "planned_call",
]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Estimated tokens of one call: its prompt's and its answer's."""

    input: int
    output: int


ESTIMATED_TOKENS: Mapping[Purpose, Tokens] = MappingProxyType(
    {
        Purpose.DETECT: Tokens(1050, 100),
        Purpose.MONOLOGUE: Tokens(700, 120),
        Purpose.REASON: Tokens(850, 150),
        Purpose.PLAN: Tokens(1250, 300),
        Purpose.EXPAND: Tokens(1400, 60),
        Purpose.JUDGE: Tokens(1000, 120),
        Purpose.CHECK: Tokens(600, 60),
        Purpose.HUMANIZE: Tokens(750, 150),
        Purpose.EVOLVE: Tokens(900, 80),
        Purpose.REMEMBER: Tokens(850, 200),
        Purpose.EMBED: Tokens(80, 0),
    }
)
"""Tokens of one call by its purpose. Prompts: rounded means of runs over the
shipped conversations with the prompts as they are. Answers, and the prompts of the two
purposes that `classic` seldom asks (check, humanize): guesses at a real model's length.
`turnwise report --table plan` shows them against the actual."""

FUSED_TOKENS: Mapping[str, Tokens] = MappingProxyType(
    {
        "fused_thinking": Tokens(1550, 370),
        "fused_reply": Tokens(800, 200),
        "fused_bookkeeping": Tokens(1300, 280),
    }
)
"""The same for fused calls, whose one purpose has several sizes, by their prompt. An answer
is taken to be as long as those that it stands for; a reply without a search has one thought
with it."""

CANDIDATE_TOKENS = 150
"""Estimated answer tokens of each candidate that a call writes, on top of the table's."""

LIST_TOKENS = Tokens(1300, 420)
"""The same for a call that judges a list, some seven candidates long."""


def planned_call(
    node: str,
    role: Role,
    purpose: Purpose,
    *,
    tokens: Tokens | None = None,
    speculative: bool = False,
    candidates: int = 0,
    is_repairable: bool = True,
) -> PlannedCall:
    """Return one call of a plan.

    Args:
        node: the node that asks.
        role: which model serves it.
        purpose: what for.
        tokens: its tokens; None takes the purpose's.
        speculative: asked before it is known to be needed.
        candidates: how many it writes, for `CANDIDATE_TOKENS` each.
        is_repairable: whether a wrong answer is asked again on top of what is planned.
    """
    sized = tokens or ESTIMATED_TOKENS[purpose]
    return PlannedCall(
        node=node,
        role=role,
        purpose=purpose,
        input_tokens=sized.input,
        output_tokens=sized.output + candidates * CANDIDATE_TOKENS,
        speculative=speculative,
        is_repairable=is_repairable and role is not Role.EMBED,
    )


def limited_call(call: PlannedCall, sampling: Mapping[str, SamplingKnobs]) -> PlannedCall:
    """Return a planned call whose answer is no longer than the knobs of its purpose allow."""
    limit = sampling_of(call.purpose, sampling).get("max_tokens")
    if limit is None or limit >= call.output_tokens:
        return call
    return replace(call, output_tokens=limit)
