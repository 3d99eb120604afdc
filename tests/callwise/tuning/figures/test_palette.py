"""Colours."""

from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.tuning.figures.palette import NO_NODE, group_colours, node_colours, node_marks, tint

PIPELINE = ("detection", "inner_monologue", "reasoner", "memory_retriever", "lats_search",
            "processor", "evolver", "memory_manager")  # fmt: skip


def test_the_pipelines_nodes_all_differ() -> None:
    """The eight nodes that can call a model have the eight colours."""
    assert len({node_colours(PIPELINE)[node] for node in PIPELINE}) == 8


@settings(deadline=None)
@given(st.sets(st.sampled_from(PIPELINE), min_size=1))
def test_a_node_keeps_its_colour_among_any_others(nodes: set[str]) -> None:
    """Figures of different presets agree on who is who."""
    whole = node_colours(PIPELINE)
    found = node_colours(nodes)
    assert all(found[node] == whole[node] for node in nodes)


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=4), unique=True, max_size=8))
def test_up_to_eight_nodes_of_any_name_differ(nodes: list[str]) -> None:
    """Two names on one colour: one of them takes another."""
    nodes = [node for node in nodes if node != NO_NODE]
    found = node_colours(nodes)
    assert len({found[node] for node in nodes}) == len(nodes)


def test_the_order_of_nodes_does_not_matter() -> None:
    """More than eight get a mark too, by name alone, and up to 24 differ."""
    names = [f"node {number}" for number in range(24)]
    assert len(set(node_marks(names).values())) == 25
    assert node_colours(names) == node_colours(names[::-1])
    assert set(names) <= set(node_colours(names))


def test_numbers_climb_a_ladder_and_names_get_hues() -> None:
    """A ladder grows lighter step by step; hues differ."""
    ladder = group_colours(["1", "2", "4", "8"])
    light = [sum(int(colour[at : at + 2], 16) for at in (1, 3, 5)) for colour in ladder]
    assert light == sorted(light)
    assert len(set(light)) == 4
    assert group_colours(["on", "off"]) == ("#0072B2", "#E69F00")
    assert len(set(group_colours([f"name {n}" for n in range(12)]))) == 12
    assert group_colours([""]) == ("#0072B2",)
    assert group_colours([]) == ()


def test_shades() -> None:
    """From the colour itself to the ground."""
    assert (tint("#000000", 0.0), tint("#000000", 1.0)) == ("#000000", "#ffffff")
