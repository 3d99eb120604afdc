"""Results of the endpoints' probes, as a table and as one JSON object."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from callwise.budget.ledger_row import LedgerRow
from callwise.calls import CallError, Role
from callwise.calls.capabilities import Capabilities, SchemaMode
from callwise.cli.terminal import print_safe, print_text, print_wrapped, screen
from callwise.safe_text import printable
from callwise.text_layout import aligned

__all__ = ["Probed", "document_of", "show"]


@dataclass(slots=True)
class Probed:
    """Findings about one endpoint. None is unknown.

    Args:
        roles: which roles the endpoint serves.
        is_simulated: whether it is the simulated model in process; nothing was asked then.
        served_model: the model that answered, as it names itself.
        models: names of the models that it lists.
        latency_seconds: of a call for one word.
        schema_mode: the strongest way to ask for a form in which the answer had it.
        capabilities: what it takes, learned ones included.
        has_logprobs: whether it gave the log-probabilities that were asked for.
        context_tokens: context length, prompt and answer together.
        batch_route: its route for batches; "" when it has none.
        is_priced: whether a price list is set.
        problem: why it does not work, where no error ended it.
    """

    roles: tuple[Role, ...]
    name: str
    model: str
    is_simulated: bool = False
    served_model: str | None = None
    models: tuple[str, ...] = ()
    latency_seconds: float | None = None
    schema_mode: SchemaMode | None = None
    capabilities: Capabilities | None = None
    has_logprobs: bool | None = None
    has_usage: bool | None = None
    has_stream_usage: bool | None = None
    context_tokens: int | None = None
    batch_route: str | None = None
    dimension: int | None = None
    is_priced: bool = False
    error: CallError | None = None
    problem: str | None = None
    rows: list[LedgerRow] = field(default_factory=list)

    @property
    def works(self) -> bool:
        """Whether a turn can be answered with it."""
        return self.error is None and self.problem is None


def _yes(value: bool | None, yes: str = "yes", no: str = "no") -> str:
    return "unknown" if value is None else yes if value else no


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def _taken(probed: Probed, field: str, refused: str) -> str:
    known = probed.capabilities
    if probed.schema_mode is None:
        return "unknown"
    return refused if known is not None and field in known.refused else "taken"


ROWS: tuple[tuple[str, Callable[[Probed], str]], ...] = (
    ("endpoint", lambda each: each.name),
    ("model", lambda each: each.model),
    ("works", lambda each: "yes" if each.works else "NO"),
    ("answered by", lambda each: each.served_model or "unknown"),
    (
        "latency of one word",
        lambda each: _seconds(each.latency_seconds) if each.latency_seconds else "unknown",
    ),
    ("structured output", lambda each: each.schema_mode or "none"),
    ("temperature", lambda each: _taken(each, "temperature", "fixed, not sent")),
    ("seed", lambda each: _taken(each, "seed", "refused, not sent")),
    (
        "token limit",
        lambda each: each.capabilities.token_limit_field if each.capabilities else "unknown",
    ),
    (
        "system role",
        lambda each: (
            "unknown"
            if each.capabilities is None
            else "yes"
            if each.capabilities.system_role == "system"
            else "no, in the user message"
        ),
    ),
    ("log-probabilities", lambda each: _yes(each.has_logprobs)),
    ("reports tokens", lambda each: _yes(each.has_usage)),
    ("tokens of a stream", lambda each: _yes(each.has_stream_usage)),
    (
        "context length",
        lambda each: f"{each.context_tokens:,}" if each.context_tokens else "unknown",
    ),
    (
        "batch route",
        lambda each: "unknown" if each.batch_route is None else each.batch_route or "no",
    ),
    ("price", lambda each: _yes(each.is_priced, no="unknown: set endpoints.<role>.prices")),
)
"""The lines of a chat model."""

EMBED_ROWS = {"endpoint", "model", "works", "answered by", "latency of one word", "price"}


def _cells(probed: Probed) -> list[str]:
    if probed.is_simulated:
        shown = {"endpoint": probed.name, "model": probed.model, "works": "simulated, not asked"}
        return [shown.get(name, "-") for name, _ in ROWS]
    is_embedding = probed.dimension is not None or tuple(probed.roles) == ("embed",)
    return [cell(probed) if not is_embedding or name in EMBED_ROWS else "-" for name, cell in ROWS]


def show(probed: Sequence[Probed]) -> None:
    """Print the table, a column for each endpoint and model."""
    if all(each.is_simulated for each in probed):
        for each in probed:
            roles = ", ".join(each.roles)
            print_wrapped(f"{roles}: {each.model}, simulated in this process; nothing was asked")
        return
    columns = [["", *(name for name, _ in ROWS), "embeddings"]]
    for each in probed:
        dimension = f"{each.dimension} numbers" if each.dimension else "-"
        columns.append([", ".join(each.roles), *_cells(each), dimension])
    cells = [tuple(map(printable, row)) for row in zip(*columns, strict=True)]
    print_safe("\n".join(aligned(cells, screen=screen())) + "\n")
    spent = _spent(probed)
    print_text(
        f"\n{spent['requests']} requests, {spent['input_tokens']:,} input and "
        f"{spent['output_tokens']:,} output tokens"
    )


def document_of(probed: Sequence[Probed]) -> dict[str, Any]:
    """Return what was found as one JSON object."""
    return {"endpoints": [_entry_document(each) for each in probed], **_spent(probed)}


def _spent(probed: Sequence[Probed]) -> dict[str, int]:
    usages = [row.usage for each in probed for row in each.rows]
    return {
        "requests": sum(usage.requests for usage in usages),
        "input_tokens": sum(usage.input_tokens for usage in usages),
        "output_tokens": sum(usage.output_tokens for usage in usages),
    }


def _entry_document(probed: Probed) -> dict[str, Any]:
    known = probed.capabilities
    document = {
        each.name: getattr(probed, each.name)
        for each in fields(probed)
        if each.name not in {"rows", "error", "capabilities"}
    }
    error = None if probed.error is None else f"{type(probed.error).__name__}: {probed.error}"
    takes = {} if known is None else {**known.model_dump(), "refused": sorted(known.refused)}
    # The way that was found to work goes before the one that is begun with.
    return {**takes, **document, "works": probed.works, "error": error}
