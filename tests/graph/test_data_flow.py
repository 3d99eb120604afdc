"""Fields of the state that each node reads, and their writers; the overlap keeps dependencies."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from callwise.budget.scope import ScopeKind
from graph.app import app
from graph.drivers import NODES, predecessors
from graph.engine import TurnContext
from graph.knob_groups import FuseKnobs
from graph.state import TurnState
from graph.steps import STEPS

GIVEN = frozenset(
    {
        "agent_id",
        "user_id",
        "conversation_id",
        "requested_turn",
        "user_text",
        "time",
        "persona",
        "earlier_lines",
    }
)
"""What a caller gives; the loader and the writer complete two of them."""

VARIANTS = {
    "plain": (),
    "a model cuts the bubbles": ("processor.llm=always",),
    "nothing is answered": ("budget.turn.max_calls=0",),
}

FUSED = {
    "apart": (),
    "thinking": ("fuse.thinking=true",),
    "bookkeeping": ("fuse.bookkeeping=true",),
    "instant": ("fuse.thinking=true", "fuse.bookkeeping=true", "fuse.reply=true"),
    "wind down": ("fuse.wind_down=true", "budget.turn.max_calls=2"),
}
"""Ways to ask together; each has another order of reading and writing."""

Trace = dict[str, tuple[set[str], set[str]]]


class RecordingState:
    """A state that remembers which of its fields were read."""

    def __init__(self, state: TurnState) -> None:
        self._state = state
        self.read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name in TurnState.model_fields:
            self.read.add(name)
        return getattr(self._state, name)


async def _traced(folder: Path, overrides: tuple[str, ...]) -> Trace:
    """Run a turn by hand; return for each node the fields that it read and wrote."""
    trace: Trace = {}
    settings = app.settings("classic", overrides)
    waits = predecessors(overlap=False, fuse=settings.fuse)
    async with app.open(settings, folder=folder) as session:
        state = TurnState(user_text="I lost my job today.", requested_turn=0)
        session.engine.open_turn(state.identity, 0)
        context = TurnContext(session.engine)
        for name in waits:
            recording = RecordingState(state)
            turn = await context.engine.turn_scope(state, name, waits[name])
            with turn.open(ScopeKind.NODE, name, after=waits[name]):
                update: Mapping[str, Any] = await STEPS[name](recording, context)
            trace[name] = (recording.read, set(update))
            rows = [*state.degraded, *(update.get("degraded") or [])]
            state = TurnState.model_validate({**dict(state), **update, "degraded": rows})
        session.engine.close_turn(state.identity)
    return trace


@pytest.fixture(params=FUSED)
def fused(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the overrides of one way to ask together."""
    return FUSED[request.param]


@pytest.fixture
def fuse(fused: tuple[str, ...]) -> FuseKnobs:
    """Return the same as knobs."""
    return app.settings("classic", fused).fuse


@pytest.fixture
async def trace(tmp_path: Path, fused: tuple[str, ...]) -> Trace:
    """Return what each node reads and writes, over several kinds of turn together."""
    reads: dict[str, set[str]] = {name: set() for name in NODES}
    writes: dict[str, set[str]] = {name: set() for name in NODES}
    for index, overrides in enumerate(VARIANTS.values()):
        folder = tmp_path / str(index)
        folder.mkdir()
        for name, (read, written) in (await _traced(folder, (*fused, *overrides))).items():
            reads[name] |= read
            writes[name] |= written
    return {name: (reads[name], writes[name]) for name in NODES}


def _ancestors(overlap: bool, fuse: FuseKnobs) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, befores in predecessors(overlap=overlap, fuse=fuse).items():
        found[name] = set(befores).union(*(found[before] for before in befores))
    return found


@pytest.mark.parametrize("overlap", [False, True])
def test_a_node_reads_what_its_ancestors_wrote(
    trace: Trace, fuse: FuseKnobs, overlap: bool
) -> None:
    """Each field read was given by the caller or written by a node that had to come before."""
    ancestors = _ancestors(overlap, fuse)
    for name, (read, _) in trace.items():
        written = set().union(*(trace[before][1] for before in ancestors[name]))
        assert read <= written | GIVEN, name


def test_overlapping_hides_no_write_and_races_with_none(trace: Trace, fuse: FuseKnobs) -> None:
    """The last writer that a node sees serially is its ancestor, and no parallel node writes it."""
    ancestors = _ancestors(overlap=True, fuse=fuse)
    nodes = list(predecessors(overlap=False, fuse=fuse))
    for place, name in enumerate(nodes):
        read, written = trace[name]
        for field in read:
            before = [node for node in nodes[:place] if field in trace[node][1]]
            if before:
                assert before[-1] in ancestors[name], (name, field, before[-1])
        overlapping = {
            node
            for node in nodes
            if node != name and node not in ancestors[name] and name not in ancestors[node]
        }
        for node in overlapping:
            clash = (read | written) & trace[node][1] - {"degraded"}
            assert not clash, (name, node, clash)


def test_every_field_is_given_or_written(trace: Trace) -> None:
    """No field of the state is dead: each is given or written."""
    written = set().union(*(write for _, write in trace.values()))
    assert set(TurnState.model_fields) == written | GIVEN


def test_nothing_is_counted_in_the_state() -> None:
    """The cost of calls is in the ledger: the state has no field that names it."""
    words = {"asked", "calls", "requests", "attempts", "tokens", "usd", "cost", "rounds", "budget"}
    for field in TurnState.model_fields:
        assert not words & set(field.split("_")), field
