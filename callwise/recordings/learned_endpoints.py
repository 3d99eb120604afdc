"""Facts that a session has learned of endpoints, kept in its folder.

A refused request field costs one request, once for an endpoint and model. A session that
goes on in the same folder, or buys what a run there lacks, begins with what was learned;
a strict replay sends nothing, and needs none of it. What was learned under another
beginning (a capability that settings now set by hand) is left alone.
"""

from pathlib import Path
from typing import Any

import orjson

from callwise.calls.capabilities import (
    Capabilities,
    capabilities_of_document,
    document_of_capabilities,
)
from callwise.calls.client import EndpointsByName
from callwise.calls.errors import FormatError
from callwise.calls.learning import LearnedFact, Learner
from callwise.recordings.app_protocol import Notices
from callwise.recordings.held_files import replace_file
from callwise.recordings.typed_json import under_this_name

__all__ = ["ENDPOINTS_FILE", "LearnedEndpoints"]

ENDPOINTS_FILE = "endpoints.json"
"""Name of the file in a session's folder."""

VERSION = 1

_Key = tuple[str, str]
"""Name of an endpoint, and the model's name there."""


class LearnedEndpoints:
    """The facts of one folder: read when it is opened, written as they are learned.

    Raises:
        FormatError: when the folder's file cannot be read.
    """

    def __init__(self, folder: Path, notices: Notices) -> None:
        self._path = folder / ENDPOINTS_FILE
        self._notices = notices
        self._rows: dict[_Key, dict[str, Any]] = {}
        self._starts: dict[_Key, Capabilities] = {}
        if self._path.exists():
            self._read()

    def follow(self, endpoints: EndpointsByName) -> None:
        """Start clients with what is known, and remember what they learn."""
        for endpoint in (each for asked in endpoints.values() for each in asked.candidates):
            client, key = endpoint.client, (endpoint.name, endpoint.model)
            if not isinstance(client, Learner) or key in self._starts:
                continue
            start = self._starts[key] = client.capabilities(endpoint.model)
            row = self._rows.get(key)
            if row is not None and row["start"] == document_of_capabilities(start):
                known = capabilities_of_document(row["capabilities"])
                client.start_from(endpoint.model, known)
            client.listen(on_learned=self._learn, on_notice=self._notices.add)

    def _learn(self, fact: LearnedFact) -> None:
        key = (fact.endpoint, fact.model)
        start = document_of_capabilities(self._starts.get(key, Capabilities()))
        row = self._rows.get(key)
        if row is None or row["start"] != start:
            row = {"endpoint": fact.endpoint, "model": fact.model, "start": start, "changes": []}
            self._rows[key] = row
        row["capabilities"] = document_of_capabilities(fact.capabilities)
        row["changes"].append({"change": fact.change, "message": fact.message})
        self._notices.add(str(fact))
        self._write()

    def _write(self) -> None:
        rows = [self._rows[key] for key in sorted(self._rows)]
        document = {"callwise_endpoints": VERSION, "learned": rows}
        try:
            replace_file(self._path, orjson.dumps(document, option=orjson.OPT_INDENT_2))
        except OSError as error:
            # The answers are worth more than this file: it would be learned again.
            self._notices.add(f"{self._path} cannot be written ({error}); nothing else is lost")

    def _read(self) -> None:
        try:
            document = under_this_name(orjson.loads(self._path.read_bytes()))
            if document["callwise_endpoints"] != VERSION:
                raise ValueError(f"format {document['callwise_endpoints']!r}")  # noqa: TRY301 - one error for one cause
            for row in document["learned"]:
                capabilities_of_document(row["capabilities"])
                capabilities_of_document(row["start"])
                if not isinstance(row["changes"], list):
                    raise TypeError("changes")  # noqa: TRY301 - one error for one cause
                self._rows[str(row["endpoint"]), str(row["model"])] = row
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(
                self._path,
                None,
                f"expected what endpoints have refused ({error!r}); delete it, and it is "
                "learned again",
            ) from error
