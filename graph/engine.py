"""Engine that all turns share: the knobs, the budgeter, the memory, and the open scopes."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from callwise.budget.budgeter import Budgeter
from callwise.budget.cache_tiers import TieredCache
from callwise.budget.clock import Clock, SystemClock, VirtualClock
from callwise.budget.layers.cache import MemoryCache, ReplyCache
from callwise.budget.layers.ledger import RowSink
from callwise.budget.ledger_row import LedgerRow
from callwise.budget.recorder import Recorder
from callwise.budget.scope import Scope, ScopeKind
from callwise.budget.shared_requests import SharedRequests
from callwise.budget.similar import SimilarReuse
from callwise.calls import LLM, Endpoint
from callwise.calls.errors import CallError, ConfigError
from callwise.calls.step_times import StepTimes
from callwise.memory import AgentUser, Identity
from callwise.memory.conversation_memory import ConversationMemory
from callwise.recordings.app_protocol import ReplyListener
from callwise.recordings.cache_warming import warm_from_cassette
from graph.endpoints import secret_values
from graph.pipeline_llm import PipelineLLM
from graph.reply_stream import ShownReply
from graph.settings import PipelineSettings
from graph.state import TurnState
from graph.turn_order import HeldMemory, TurnOrder
from nodes.loader import ALL_TURNS, load_turn
from nodes.prompt import OwnTexts

if TYPE_CHECKING:
    from graph.own_nodes import OwnNode

__all__ = [
    "Engine",
    "TurnContext",
    "cache_of",
    "make_engine",
    "needs_no_waiting",
    "similar_of",
    "warm",
]

_LOGGER = logging.getLogger(__name__)

_DEFAULT_ENTRIES = 10_000
"""Answers that are kept in memory before another tier, and where there is something to warm."""

_FORMER_NAME = "user"
"""The user of memory that older versions kept where none was given."""

FIRST_NODE = "loader"
"""The node that opens a turn."""

LAST_OF_REPLY = "final_validator"
"""The node after which the reply is out."""


@dataclass(slots=True)
class Engine:
    """The parts behind every turn of a session. One event loop.

    Args:
        llm: answers the nodes' calls, by way of the budgeter.
        search_llm: likewise, those of the search, whose calls may allow fewer repairs.
        nodes: those that a program has added.
        texts: prompts and rubrics in place of the shipped ones.
        similar: reuse of answers to similar calls, whose judges are asked after each turn.
        outside: rows of calls outside of turns, until they are taken.
        patience_seconds: how long a graph server's turn waits for another one of the same
            memory, which may have been paused for good: a server does not report that.
    """

    settings: PipelineSettings
    budgeter: Budgeter
    endpoints: Mapping[str, Endpoint]
    memory: ConversationMemory
    llm: LLM
    search_llm: LLM
    nodes: "tuple[OwnNode, ...]" = ()
    texts: OwnTexts = ()
    similar: SimilarReuse | None = None
    outside: list[LedgerRow] = field(default_factory=list)
    patience_seconds: float = 300.0
    step_times: StepTimes = field(default_factory=StepTimes)
    turn_order: TurnOrder = field(default_factory=TurnOrder)
    _conversations: dict[Identity, Scope] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)
    _turns: dict[Identity, Scope] = field(default_factory=dict)
    _resumed: set[Identity] = field(default_factory=set)

    def conversation(self, identity: Identity) -> Scope:
        """Return the scope of a conversation, which stays open.

        Its name is the conversation's id, which reports show; of two conversations with one
        id, the later one's name ends with a digest of its identity.
        """
        scope = self._conversations.get(identity)
        if scope is None:
            name = identity.conversation_id
            digest = hashlib.sha256(identity.thread_id.encode()).hexdigest()
            while name in self._names:  # an id may look like a name that was made here
                name = f"{name}#{digest[:12]}"
            limits = self.settings.budget.conversation
            scope = self.budgeter.run.open(
                ScopeKind.CONVERSATION,
                name,
                limits=limits,
                after=(),
                user=identity.user_id,
                tenant=identity.agent_id,
            )
            self._names.add(name)
            self._conversations[identity] = scope
        return scope

    def break_off(self, identity: Identity, held: HeldMemory | None) -> None:
        """Close the turn of a run that has ended early, and allow the next one to begin.

        Args:
            held: what the run had of `turn_order`. Where another run has the memory by now, also a
                later one of the same thread, nothing happens.
        """
        if self.turn_order.held(identity.agent_user) is held:
            self.close_turn(identity)
            if held is not None:
                self.turn_order.leave(identity.agent_user, held.run)

    def take_turns_with(self, other: "Engine") -> None:
        """Wait for another engine's turns of the same memory, and name conversations apart."""
        self.turn_order, self._names = other.turn_order, other._names  # noqa: SLF001 - of its class

    def open_turn(self, identity: Identity, turn: int) -> Scope:
        """Open a turn's scope. One that was left open, by a turn that broke off, is closed."""
        self.close_turn(identity)
        conversation = self.conversation(identity)
        scope = conversation.open(ScopeKind.TURN, str(turn), limits=self.settings.budget.turn)
        self._turns[identity] = scope
        return scope

    def turn(self, identity: Identity) -> Scope | None:
        """Return the open turn of a conversation, or None."""
        return self._turns.get(identity)

    async def turn_scope(self, state: TurnState, node: str, waits_for: Sequence[str]) -> Scope:
        """Return the turn's scope for a node; the first node opens it where it is not open.

        `graph.session` opens it before the turn; a graph server runs each node in a separate
        context. A turn that is resumed past its beginning, after it broke off or in another
        process, has a new scope, at whose start the nodes before it ended.

        Args:
            waits_for: the nodes that this one waits for.
        """
        scope = self._turns.get(state.identity)
        is_first = node == FIRST_NODE
        if scope is None or (is_first and scope.turn != str(state.requested_turn)):
            turn = state.requested_turn if is_first else state.turn
            if turn is None:
                turn = await self.next_turn(state.identity)
            scope = self.open_turn(state.identity, turn)
            if not is_first:
                self._resumed.add(state.identity)
        if state.identity in self._resumed:
            for before in (*waits_for, LAST_OF_REPLY):
                scope.open(ScopeKind.NODE, before, after=()).close()
        return scope

    def close_turn(self, identity: Identity) -> None:
        """Close the open turn of a conversation, if there is one."""
        scope = self._turns.pop(identity, None)
        self._resumed.discard(identity)
        if scope is not None:
            scope.close()

    def close_conversation(self, identity: Identity) -> None:
        """Close a conversation that no later turn belongs to."""
        self.close_turn(identity)
        scope = self._conversations.pop(identity, None)
        if scope is not None:
            self._names.discard(scope.name)
            scope.close()

    async def next_turn(self, identity: Identity) -> int:
        """Return the number of the turn that comes after a conversation's last one.

        Raises:
            ConfigError: when an older version kept this conversation under a name in place of
                no name.
        """
        conversation_id, user = identity.conversation_id, identity.agent_user
        loaded = await load_turn(
            self.memory, user, conversation_id=conversation_id, turn=None, user_text=""
        )
        if loaded.turn == 0 and identity.user_id is None:
            anonymous = AgentUser(identity.agent_id, _FORMER_NAME)
            former = await self.memory.load(anonymous, max_turns=ALL_TURNS)
            known = (entry.conversation_id for entry in former.transcript)
            if former.names_anonymous and conversation_id in known:
                raise ConfigError(
                    f"an older version kept conversation {conversation_id!r} as one of the user "
                    f"{_FORMER_NAME!r}, and no user is given. Give the user {_FORMER_NAME!r} to "
                    "go on with it, or begin another conversation"
                )
        return loaded.turn

    async def check_similar(self) -> list[LedgerRow]:
        """Ask the judges of similar calls that wait, and return new rows outside of turns.

        A failure costs no turn: it is logged, and the pairs wait on.
        """
        if self.similar is not None and self.similar.waiting:
            with self.budgeter.scope("node", "similar"):
                try:
                    await self.similar.check(self.budgeter)
                except CallError as error:
                    _LOGGER.warning("answers to similar calls are not judged: %r", error)
        rows, self.outside[:] = self.outside.copy(), ()
        return rows

    def close(self) -> None:
        """Close every scope, and check that the ledger adds up.

        Raises:
            LedgerError: when it does not.
        """
        for identity in list(self._conversations):
            self.close_conversation(identity)
        self.budgeter.ledger.check()


def cache_of(settings: PipelineSettings, *, is_offline: bool) -> ReplyCache | None:
    """Return the cache of settings, nothing in it yet.

    Raises:
        ConfigError: when only a file names its folder, which is not below the working directory.
    """
    knobs = settings.cache
    slow: list[ReplyCache] = []
    # A replay has every answer, and no folder's contents may change any.
    if knobs.disk is not None and not is_offline:
        settings.require_named("cache.disk", knobs.disk)
        from callwise.budget.cache_disk import DiskCache  # noqa: PLC0415 - loads diskcache

        slow.append(DiskCache(Path(knobs.disk), ttl_multiplier=knobs.disk_ttl_multiplier))
    shared = [] if is_offline else _redis_tiers(settings)
    slow += shared
    entries = knobs.memory_entries
    if entries is None:
        is_warmed = bool(knobs.warm_from) and not is_offline
        entries = _DEFAULT_ENTRIES if slow or is_warmed else 0
    tiers = slow
    if entries:
        hot_hits, multiplier = knobs.hot_hits, knobs.hot_ttl_multiplier
        tiers = [MemoryCache(entries, hot_hits=hot_hits, hot_ttl_multiplier=multiplier), *slow]
    if not tiers:
        return None
    return TieredCache(tiers, written_back=shared, ttl_seconds=knobs.ttl_seconds.by_kind())


def _redis_tiers(settings: PipelineSettings) -> list[ReplyCache]:
    """Return the tier in Redis, where the settings have one.

    Raises:
        ConfigError: when no server is set for it.
    """
    knobs, fleet = settings.cache, settings.load.fleet
    if not knobs.redis:
        return []
    if fleet is None:
        raise ConfigError(
            "cache.redis=true keeps answers in the Redis server of load.fleet, and load.fleet is "
            "not set: set load.fleet.name, and the server's URL in CALLWISE_REDIS_URL"
        )
    from callwise.budget.cache_redis import RedisCache  # noqa: PLC0415 - rarely used
    from callwise.budget.fleet.redis_link import link_from_env  # noqa: PLC0415 - an extra

    link = link_from_env(fleet.url_env, timeout_seconds=fleet.timeout_seconds)
    return [RedisCache(link, fleet.name, ttl_multiplier=knobs.redis_ttl_multiplier)]


def similar_of(settings: PipelineSettings, *, is_own: bool) -> SimilarReuse | None:
    """Return the reuse of answers to similar calls; None where no purpose opted in.

    Args:
        is_own: whether this is a run that keeps what it judges and may use answers again; else
            nothing is read or written, and every call is asked.

    Raises:
        ConfigError: when only a file names its folder, which is not below the working directory.
        FormatError: when what was judged cannot be read.
    """
    knobs = settings.cache
    if not knobs.similar:
        return None
    file: Path | None = None
    if is_own and knobs.disk is not None:
        settings.require_named("cache.disk", knobs.disk)
        folder = Path(knobs.disk)
        file = folder.with_name(f"{folder.name}.similar.jsonl")
    return SimilarReuse(knobs.similar, proof_file=file, serves=is_own)


async def warm(
    cache: ReplyCache | None, settings: PipelineSettings, endpoints: Mapping[str, Endpoint]
) -> None:
    """Put the answers of the cassettes that the settings name into a cache, if there is one.

    Raises:
        ConfigError: when only a file names a cassette, which is not below the working directory.
        FormatError: when one cannot be read.
    """
    if cache is None:
        return
    for path in settings.cache.warm_from:
        settings.require_named("cache.warm_from", path)
        is_timeless = needs_no_waiting(endpoints)
        count = await warm_from_cassette(cache, Path(path), is_timeless=is_timeless)
        _LOGGER.info("%d answers of %s are in the cache", count, path)


def needs_no_waiting(endpoints: Mapping[str, Endpoint]) -> bool:
    """Return whether every answer comes immediately, so that time is simulated."""
    return all(endpoint.client.is_simulated for endpoint in endpoints.values())


def _require_named_queues(settings: PipelineSettings) -> None:
    """Refuse the file of a queue of background work likewise.

    Raises:
        ConfigError: as `require_named` of the settings does.
    """
    loads = [("load", settings.load)]
    served = {f"endpoints.{role}": asked for role, asked in settings.endpoints.items()}
    served |= {f"models.{name}": asked for name, asked in settings.models.items()}
    for knob, asked in served.items():
        loads += [(f"{knob}.load", each.load) for each in asked.candidates if each.load]
    for name, load in loads:
        if load.background is not None:
            settings.require_named(f"{name}.background.file", str(load.background.file))


def make_engine(
    settings: PipelineSettings,
    endpoints: Mapping[str, Endpoint],
    memory: ConversationMemory,
    *,
    recorder: Recorder | None = None,
    cache: ReplyCache | None = None,
    similar: SimilarReuse | None = None,
    sinks: Sequence[RowSink] = (),
    notify: Callable[[str], None] | None = None,
    is_offline: bool = False,
    clock: Clock | None = None,
    shared: SharedRequests | None = None,
    nodes: "tuple[OwnNode, ...]" = (),
) -> Engine:
    """Return an engine over endpoints and a memory; its ledger rows go to `sinks`.

    Args:
        similar: None takes that of the settings, without using any answer again.
        clock: None takes the system's, and a virtual one where every client is simulated.
        shared: requests in common with other engines; None for none.
        nodes: those that a program has added.

    Raises:
        ConfigError: when only a file names the file of a queue, which is not below the working
            directory.
    """
    if not is_offline:
        _require_named_queues(settings)
        if settings.metrics is not None and settings.metrics.textfile is not None:
            settings.require_named("metrics.textfile", settings.metrics.textfile)
    if clock is None:
        clock = VirtualClock() if needs_no_waiting(endpoints) else SystemClock()
    outside: list[LedgerRow] = []
    budgeter = Budgeter(
        endpoints,
        clock=clock,
        cache=cache,
        similar=similar_of(settings, is_own=False) if similar is None else similar,
        recorder=recorder,
        limits=settings.budget.run,
        retry=settings.retry,
        load=settings.load,
        policies=settings.policies,
        seed=settings.seed,
        secrets=() if is_offline else secret_values(settings),
        sinks=[*sinks, lambda row: outside.append(row) if row.turn is None else None],
        max_kept_rows=0,
        advises_by_path=True,
        notify=notify,
        shared=shared,
    )
    max_repairs, sampling = settings.repair.max_repairs, settings.sampling
    return Engine(
        settings,
        budgeter,
        endpoints,
        memory,
        llm=PipelineLLM(budgeter, max_repairs, sampling, packing=settings.pack),
        search_llm=PipelineLLM(
            budgeter, max_repairs, sampling, keeps_repairs=True, packing=settings.pack
        ),
        nodes=nodes,
        similar=similar,
        outside=outside,
        texts=(*(text for node in nodes for text in node.texts), *settings.own_texts),
    )


@dataclass(frozen=True, slots=True)
class TurnContext:
    """One turn's context.

    Args:
        on_reply: given the reply as soon as it is out, before the bookkeeping.
        shown: the bubbles that are shown as they become final; None shows none.
    """

    engine: Engine
    on_reply: ReplyListener | None = None
    shown: ShownReply | None = None
