"""Plans found by running: a client that answers by form, and the ledger of a run as steps.

A run waits for nothing and sends nothing. What it asked, and what waited for what, is read from
its ledger; how long prompts and answers are is expected, not measured.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from callwise.budget.ledger_row import LedgerRow
from callwise.calls.answer_values import resolved
from callwise.calls.call import Call
from callwise.calls.errors import CallError
from callwise.calls.reply import Reply, ReportedUsage
from callwise.calls.schema import response_schema
from callwise.plans.bound import InParallel, InSequence, PlannedCall, Step, repair_tokens

__all__ = ["FormClient", "steps_by_node"]

TokensOf = Callable[[Call], tuple[int, int]]
"""Returns the expected prompt and answer tokens of a call."""


def _filled(node: Any, document: Mapping[str, Any]) -> Any:
    """Return the plainest value that a part of a schema allows."""
    node = resolved(node, document)
    if "enum" in node:
        return node["enum"][0]
    match node.get("type"):
        case "object":
            return {name: _filled(each, document) for name, each in node["properties"].items()}
        case "array":
            return [_filled(node["items"], document)]
        case "string":
            return "text"
        case "number" | "integer":
            return max(node.get("minimum", 0), 0)
        case _:
            return None


@dataclass(frozen=True, slots=True)
class FormClient:
    """A client whose answers have the form asked for, or no form at all.

    Args:
        tokens_of: the usage that answers report.
        is_readable: whether they have the form.
    """

    tokens_of: TokensOf
    is_readable: bool = True
    is_simulated: bool = True

    async def answer(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        on_sent: Callable[[int], None] | None = None,  # noqa: ARG002 - nothing is sent
    ) -> Sequence[Reply | CallError]:
        """Answer without waiting."""
        return [self._reply(call, model) for call in calls]

    def _reply(self, call: Call, model: str) -> Reply:
        sent, written = self.tokens_of(call)
        usage = ReportedUsage(input_tokens=sent, output_tokens=written)
        if call.is_embedding:
            return Reply(text="", vectors=((1.0,),), usage=usage, model=model)
        text = "?"
        if self.is_readable and call.response_model is not None:
            schema = response_schema(call.response_model)
            text = orjson.dumps(_filled(schema, schema)).decode()
        return Reply(text=text, usage=usage, model=model)

    async def aclose(self) -> None:
        """Do nothing: there is nothing to release."""


def _planned(row: LedgerRow) -> PlannedCall:
    return PlannedCall(
        node=row.node or "",
        role=row.role,
        purpose=row.purpose,
        input_tokens=row.usage.input_tokens + row.repair * repair_tokens(row.usage.output_tokens),
        output_tokens=row.usage.output_tokens,
        speculative=row.is_speculative,
    )


def steps_by_node(rows: Iterable[LedgerRow]) -> dict[str, Step]:
    """Return what each node of a turn asked, its rounds one after another."""
    rounds: dict[str, dict[int, list[PlannedCall]]] = {}
    for row in sorted(rows, key=lambda row: (row.end_round, row.sequence)):
        together = rounds.setdefault(row.node or "", {}).setdefault(row.end_round, [])
        together.append(_planned(row))
    return {
        node: InSequence(tuple(InParallel(tuple(calls)) for calls in by_round.values()))
        for node, by_round in rounds.items()
    }
