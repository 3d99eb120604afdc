"""The order of the nodes, serial and overlapped."""

from itertools import pairwise

import pytest

from graph.order import NODES, predecessors
from graph.steps import STEPS
from graph.wiring import build_graph

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


def test_the_fifteen_nodes_stand_in_the_specs_order() -> None:
    """Fifteen nodes, each with its step, in the order of the spec."""
    assert SPEC_ORDER == NODES
    assert set(STEPS) == set(NODES)


def test_serial_waits_for_the_one_before() -> None:
    """When nothing overlaps, each node waits for exactly the node before it."""
    waits = predecessors(overlap=False)
    assert waits["loader"] == ()
    for before, node in pairwise(SPEC_ORDER):
        assert waits[node] == (before,)


@pytest.mark.parametrize("overlap", [False, True])
def test_the_wiring_draws_the_table(overlap: bool) -> None:
    """The compiled graph has the same nodes, and one edge for each wait."""
    drawn = build_graph(overlap=overlap).get_graph()
    waits = predecessors(overlap=overlap)
    assert set(drawn.nodes) == {"__start__", *NODES, "__end__"}
    edges = {(edge.source, edge.target) for edge in drawn.edges}
    assert edges == {
        ("__start__", "loader"),
        ("memory_writer", "__end__"),
        *((before, node) for node, befores in waits.items() for before in befores),
    }


def test_every_node_leads_to_the_writer() -> None:
    """Overlapped too, nothing is still at work when the turn is committed."""
    waits = predecessors(overlap=True)
    reached, front = {"memory_writer"}, ["memory_writer"]
    while front:
        for before in waits[front.pop()]:
            if before not in reached:
                reached.add(before)
                front.append(before)
    assert reached == set(NODES)
