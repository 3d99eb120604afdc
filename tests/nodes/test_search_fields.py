"""What a turn's material says in every prompt of the search."""

from nodes.records import Monologue, ResponsePlan
from nodes.search_fields import judging_fields, writing_fields
from nodes.search_material import SearchMaterial
from nodes.turn import TurnView, material

MATERIAL = SearchMaterial(
    TurnView(
        language="en",
        user_text="hi",
        monologue=Monologue(thought="secret"),
        plan=ResponsePlan(goals=("greet",)),
        summary="They met.",
        version=1,
    )
)


def test_a_judge_is_shown_no_thoughts():
    """Whoever writes is: it is the difference between the two, with what is known from earlier."""
    judging, writing = judging_fields(MATERIAL), writing_fields(MATERIAL)
    assert writing.keys() - judging.keys() == {"monologue", "memories", "summary"}
    assert judging.items() <= writing.items()


def test_what_is_asked_stands_after_what_is_the_same_in_all_calls():
    """So calls of one turn share a prefix up to what one of them asks; empty parts are left out."""
    first = material(**writing_fields(MATERIAL, goal="", count=2, strategies_used=[]))
    second = material(**writing_fields(MATERIAL, goal="make peace", count=3))
    assert first.endswith(
        '"task":{"plan":{"goals":["greet"]},"style":"few jokes, little about oneself, '
        'hardly playful","count":2}}'
    )
    assert second.startswith(first.partition(',"count"')[0])


def test_calls_of_one_turn_differ_only_in_their_last_fields():
    """Judges of one turn share everything before what they judge."""
    texts = [material(**judging_fields(MATERIAL), reply=reply) for reply in ("a", "b")]
    shared = material(**judging_fields(MATERIAL)).removesuffix("}")
    assert all(text.startswith(shared) for text in texts)
