"""Groups of calls that may travel in one request, and what an endpoint takes of that.

Limits come from knobs, an example profile or the table of known endpoints; a refusal that names
too many texts lowers them for the rest of the run, and a route that is not there is not asked
again. Both decide only when and with what a call is sent; the batch is in each row.
"""

import logging
import re
import sys
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from callwise.budget.batch_rules import shared_parameters
from callwise.budget.work import Work
from callwise.budget.work_batch import BatchRule, WorkBatch
from callwise.calls.client import ConversationClient, Endpoint
from callwise.calls.errors import BadRequest, CallError, UnknownModel
from callwise.calls.load.batch_knobs import NO_LIMITS, BatchKnobs, BatchLimits
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.timeout_knobs import TimeoutKnobs
from callwise.calls.reply import Reply

__all__ = ["BatchGroup", "BatchGroups", "BatchSettings"]

_LOGGER = logging.getLogger(__name__)

_NO_ROUTE = frozenset({404, 405, 501})
"""HTTP statuses of a route that an endpoint does not have."""

_TOO_MANY = re.compile(
    r"(?i)batch[ _]size|array_?above_?max|too many (?:inputs?|texts?|items?|strings?)"
    r"|(?:larger|greater|more|longer) than \d+ (?:inputs?|texts?|items?|elements?)"
    r"|max(?:imum)?(?: allowed)? (?:number of )?(?:batch|inputs?|texts?|items?|array)"
)
"""Words of a refusal of too many texts: Text Embeddings Inference, DashScope, OpenAI."""


class BatchSettings(NamedTuple):
    """Knobs and limits of one endpoint.

    Args:
        timeout: its timeouts by kind of work; None for none.
        takes_conversations: whether its client can send several conversations as one request.
    """

    knobs: BatchKnobs
    limits: BatchLimits
    timeout: TimeoutKnobs | None
    takes_conversations: bool


class BatchGroup(NamedTuple):
    """Calls that may travel together.

    Args:
        key: what they share.
        rule: limits of one of their batches.
        path: the endpoint's route for lists of conversations; None for texts to embed.
    """

    key: Hashable
    rule: BatchRule
    path: str | None


class BatchGroups:
    """Chooses the group of each call; `load_of` returns the knobs of an endpoint."""

    def __init__(self, load_of: Callable[[Endpoint], LoadKnobs]) -> None:
        self._load_of = load_of
        self._settings: dict[tuple[str, str], BatchSettings | None] = {}
        self._without_route: set[tuple[str, str, str]] = set()

    def settings_of(self, endpoint: Endpoint) -> BatchSettings | None:
        """Return the settings of an endpoint; None where each of its calls travels alone."""
        key = endpoint.name, endpoint.model
        if key not in self._settings:
            load = self._load_of(endpoint)
            settings = None
            if load.batch is not None:
                known = getattr(endpoint.client, "batch_limits", NO_LIMITS)
                takes_conversations = isinstance(endpoint.client, ConversationClient)
                limits = load.batch.limits(known)
                settings = BatchSettings(load.batch, limits, load.timeout, takes_conversations)
            self._settings[key] = settings
        return self._settings[key]

    def group_of(self, work: Work, settings: BatchSettings, under_way: int) -> BatchGroup | None:
        """Return the group that a call may travel in; None where it travels alone.

        Args:
            under_way: batches under way at its endpoint.
        """
        call, knobs, endpoint = work.outgoing_call, settings.knobs, work.endpoint
        if call.batch_key is None:
            return None
        path: str | None = None
        shared: Hashable = None
        if call.is_embedding:
            size = knobs.embedding_size
            window = knobs.embedding_window_seconds
            windows = window, knobs.embedding_max_wait_seconds, window
        else:
            path = self._path_for(work, settings)
            shared = shared_parameters(call) if path is not None else None
            if shared is None:
                return None
            size, window = knobs.chat_rule(under_way)
            windows = window, window, min(window, knobs.chat_idle_window_seconds)
        size = min(size, settings.limits.items or sys.maxsize)
        part = work.batch_part
        if part is not None:
            size = part[1]
        if size <= max(len(call.inputs), 1):
            return None
        timeout_seconds = None
        if path is not None or settings.timeout is not None:
            timeout_seconds = (settings.timeout or TimeoutKnobs()).batch_seconds
        return BatchGroup(
            (endpoint.name, endpoint.model, path, call.batch_key, part, shared),
            BatchRule(size, settings.limits.text_bytes, *windows, timeout_seconds),
            path,
        )

    def learn(self, batch: WorkBatch, results: Sequence[Reply | CallError]) -> None:
        """Learn from the failures of a batch what its endpoint does not take."""
        if batch.path is not None:
            self._learn_of_route(batch, batch.path, results)
            return
        items = sum(member.items for member in batch.seal())
        for result in results:
            if self.learn_limit(batch.endpoint, items, result):
                return

    def learn_limit(self, endpoint: Endpoint, items: int, result: Reply | CallError) -> bool:
        """Return whether a result has refused too many texts, which lowers the limit."""
        if not isinstance(result, BadRequest) or items < 2:
            return False
        if result.status != 413 and not _TOO_MANY.search(str(result)):
            return False
        settings, most = self.settings_of(endpoint), items // 2
        if settings is None:
            return False
        if most < (settings.limits.items or sys.maxsize):
            limits = settings.limits._replace(items=most)
            self._settings[endpoint.name, endpoint.model] = settings._replace(limits=limits)
            _LOGGER.warning(
                "%s refused %d texts in one request (%s): it is sent %d at most from now on; set "
                "`load.batch.max_items` to what it takes",
                endpoint.name,
                items,
                result,
                most,
            )
        return True

    def _learn_of_route(
        self, batch: WorkBatch, path: str, results: Sequence[Reply | CallError]
    ) -> None:
        key = *batch.endpoint.identity, path
        is_missing = all(
            isinstance(result, UnknownModel) or getattr(result, "status", None) in _NO_ROUTE
            for result in results
        )
        if is_missing and key not in self._without_route:
            self._without_route.add(key)
            _LOGGER.warning(
                "%s has no route %s: its chat calls are sent one by one; set "
                "`load.batch.chat_path`, of wakes `wake.chat_path`, to null (%s)",
                batch.endpoint.name,
                path,
                results[0],
            )

    def _path_for(self, work: Work, settings: BatchSettings) -> str | None:
        """Return the route for a chat call with others; None where it cannot take that."""
        call, path = work.sent_call, settings.knobs.chat_path
        if path is None or not settings.takes_conversations or work.batch_part is not None:
            return None
        if call.tools or call.stream or call.sampling.n > 1:
            return None
        return None if (*work.endpoint.identity, path) in self._without_route else path
