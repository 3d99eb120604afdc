"""The table of known endpoints: what a model there is taken to take before it is asked.

The rows are data, in `known_endpoints.yaml` beside this file. A row decides where a
capability starts, so that a well-known refusal need not be paid for; what the endpoint
itself refuses goes before it. Local servers have rows too, to be read: nothing tells
one server on this machine from another, so none of those rows is ever chosen.
"""

from datetime import date
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field

from turnwise.calls.capabilities import (
    Capabilities,
    SchemaMode,
    SystemRole,
    TokenLimitField,
)

__all__ = ["KnownEndpoint", "known_capabilities", "known_endpoints"]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KnownCapabilities(_Row):
    """Capabilities that a row sets; see `Capabilities`. None leaves what was there."""

    schema_mode: SchemaMode | None = None
    token_limit_field: TokenLimitField | None = None
    system_role: SystemRole | None = None
    refused: frozenset[str] = frozenset()
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None

    def laid_over(self, capabilities: Capabilities) -> Capabilities:
        """Return capabilities with what is set here."""
        return Capabilities(
            schema_mode=self.schema_mode or capabilities.schema_mode,
            token_limit_field=self.token_limit_field or capabilities.token_limit_field,
            system_role=self.system_role or capabilities.system_role,
            refused=capabilities.refused | self.refused,
            context_tokens=capabilities.context_tokens,
            max_output_tokens=self.max_output_tokens or capabilities.max_output_tokens,
        )


class KnownModels(_Row):
    """Models of an endpoint that take something else than its others."""

    models: Annotated[tuple[str, ...], Field(min_length=1)]
    """Patterns of model names, as in a shell: `o?`, `gpt-5*`."""

    start: KnownCapabilities


class KnownEndpoint(_Row):
    """One endpoint of the table."""

    name: str
    """The provider or server."""

    hosts: tuple[str, ...] = ()
    """Hosts it is recognised by; none for a server that runs anywhere."""

    base_url: str
    """What to set as the base URL."""

    key_variable: str | None = None
    """Variable that the provider's own documents keep the key in; None needs no key."""

    start: KnownCapabilities = KnownCapabilities()
    """Where capabilities start."""

    models: tuple[KnownModels, ...] = ()
    """What differs for some models; later entries go before earlier ones."""

    is_confirmed: bool = False
    """Whether calls need not wait for the first one to find out what is taken."""

    notes: str = ""
    """What else is worth knowing."""

    source: Annotated[str, Field(min_length=1)]
    """The document, or the report, that the row is from."""

    date: date
    """When that was read."""

    tried: Annotated[str, Field(pattern=r"^(yes|no)\b")]
    """Whether the row was tried, and how."""

    def capabilities(self, model: str) -> Capabilities:
        """Return where a model's capabilities start."""
        found = self.start.laid_over(Capabilities())
        bare = model.rpartition("/")[2]  # routers put the maker before the model
        for each in self.models:
            if any(fnmatchcase(bare, pattern) for pattern in each.models):
                found = each.start.laid_over(found)
        return found


@cache
def known_endpoints() -> tuple[KnownEndpoint, ...]:
    """Return the rows of the table, in its order.

    Raises:
        pydantic.ValidationError: when the file is not what it should be.
    """
    text = Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = yaml.safe_load(text)
    return tuple(KnownEndpoint.model_validate(row) for row in rows)


def known_capabilities(base_url: str, model: str) -> tuple[Capabilities, bool]:
    """Return what a model is taken to take at first, and whether that is confirmed.

    Args:
        base_url: of the endpoint; its host is looked up, with its parent domains.
        model: the model's name there.
    """
    host = urlsplit(base_url).hostname or ""
    for row in known_endpoints():
        if any(host == each or host.endswith(f".{each}") for each in row.hosts):
            return row.capabilities(model), row.is_confirmed
    return Capabilities(), False
