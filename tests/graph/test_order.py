"""The order of the nodes, serial and overlapped."""

from itertools import pairwise

import pytest

from graph.drivers import NODES, build_graph, predecessors
from graph.knob_groups import FuseKnobs
from graph.steps import STEPS

SPEC_ORDER = (
    "loader",
    "detection",
    "mode_manager",
    "inner_monologue",
    "emotion_update",
    "reasoner",
    "memory_retriever",
    "style",
    "lats_search",
    "processor",
    "final_validator",
    "evolver",
    "stage_manager",
    "memory_manager",
    "memory_writer",
)


def test_the_fifteen_nodes_are_in_the_specs_order() -> None:
    """Fifteen nodes, each with its step, in the order of the spec."""
    assert SPEC_ORDER == NODES
    assert set(STEPS) == set(NODES)


def test_serial_waits_for_the_one_before() -> None:
    """When nothing overlaps, each node waits for exactly the node before it."""
    waits = predecessors(overlap=False)
    assert waits["loader"] == ()
    for before, node in pairwise(SPEC_ORDER):
        assert waits[node] == (before,)


FUSED = {
    "apart": FuseKnobs(),
    "thinking": FuseKnobs(thinking=True),
    "bookkeeping": FuseKnobs(bookkeeping=True),
    "reply": FuseKnobs(thinking=True, reply=True),
    "instant": FuseKnobs(thinking=True, bookkeeping=True, reply=True),
    "wind down": FuseKnobs(wind_down=True),
}

every_fusing = pytest.mark.parametrize("fuse", FUSED.values(), ids=FUSED)


@pytest.mark.parametrize("overlap", [False, True])
@every_fusing
def test_the_wiring_draws_the_table(overlap: bool, fuse: FuseKnobs) -> None:
    """The compiled graph has the same nodes, and one edge for each wait."""
    drawn = build_graph(overlap=overlap, fuse=fuse).get_graph()
    waits = predecessors(overlap=overlap, fuse=fuse)
    assert set(drawn.nodes) == {"__start__", *NODES, "__end__"}
    edges = {(edge.source, edge.target) for edge in drawn.edges}
    assert edges == {
        ("__start__", "loader"),
        ("memory_writer", "__end__"),
        *((before, node) for node, befores in waits.items() for before in befores),
    }


@pytest.mark.parametrize("overlap", [False, True])
@every_fusing
def test_the_nodes_are_in_an_order_to_run_in(overlap: bool, fuse: FuseKnobs) -> None:
    """Each comes after all that it waits for, the loader first and the writer last."""
    waits = predecessors(overlap=overlap, fuse=fuse)
    names = list(waits)
    assert set(names) == set(NODES)
    assert (names[0], names[-1]) == (NODES[0], NODES[-1])
    for name, befores in waits.items():
        assert all(names.index(before) < names.index(name) for before in befores)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("name", ["apart", "thinking"])
def test_notes_asked_together_change_no_order(overlap: bool, name: str) -> None:
    """Only a reply among the thoughts, or fused bookkeeping, needs another."""
    assert predecessors(overlap=overlap, fuse=FUSED[name]) == predecessors(overlap=overlap)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("name", ["reply", "instant", "wind down"])
def test_a_call_that_may_reply_comes_after_retrieval(overlap: bool, name: str) -> None:
    """Memories are there when detection asks."""
    waits = predecessors(overlap=overlap, fuse=FUSED[name])
    assert waits["memory_retriever"] == ("loader",)
    assert waits["detection"] == ("memory_retriever",)


@pytest.mark.parametrize("name", ["bookkeeping", "instant", "wind down"])
def test_the_memory_manager_waits_for_the_node_that_may_ask_for_it(name: str) -> None:
    """Overlapped, it runs with the stage manager then, not with the evolver."""
    waits = predecessors(overlap=True, fuse=FUSED[name])
    assert waits["memory_manager"] == ("evolver",)
    assert waits["memory_writer"] == ("stage_manager", "memory_manager")


@every_fusing
def test_every_node_leads_to_the_writer(fuse: FuseKnobs) -> None:
    """Overlapped too, nothing is still at work when the turn is committed."""
    waits = predecessors(overlap=True, fuse=fuse)
    reached, front = {"memory_writer"}, ["memory_writer"]
    while front:
        for before in waits[front.pop()]:
            if before not in reached:
                reached.add(before)
                front.append(before)
    assert reached == set(NODES)
