"""What a turn's material says in every prompt of the search."""

from nodes.records import Monologue
from nodes.search_fields import judging_fields, writing_fields
from nodes.search_material import SearchMaterial

MATERIAL = SearchMaterial(
    language="en", user_text="hi", monologue=Monologue(thought="secret"), summary="They met."
)


def test_a_judge_is_shown_no_thoughts():
    """Whoever writes is: it is the difference between the two, with what is known from earlier."""
    judging, writing = judging_fields(MATERIAL), writing_fields(MATERIAL)
    assert writing.keys() - judging.keys() == {"monologue", "memories", "summary"}
    assert judging.items() <= writing.items()


def test_a_goal_stands_where_there_is_one():
    """None leaves the field out of the prompt."""
    assert judging_fields(MATERIAL)["goal"] is None
    assert writing_fields(MATERIAL, goal="make peace")["goal"] == "make peace"
