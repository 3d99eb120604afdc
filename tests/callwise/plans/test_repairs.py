"""Plans with repairs."""

from dataclasses import replace

from callwise.calls.call import Purpose, Role
from callwise.plans import InParallel, InSequence, Network, PlannedCall, Step, Wave, with_repairs
from callwise.plans.bound import REPAIR_QUOTE_TOKENS, REPAIR_WORDS_TOKENS, flatten, rounds

CHAT = PlannedCall("a", Role.MAIN, Purpose.PLAN, input_tokens=100, output_tokens=10)
EMBED = PlannedCall("a", Role.EMBED, Purpose.EMBED, input_tokens=5, is_repairable=False)


def test_each_structured_call_is_asked_again() -> None:
    """Repairs follow their call in every kind of step; embeddings have none."""
    plan: Step = Network(
        {"a": InSequence((CHAT, EMBED)), "b": InParallel((CHAT,)), "c": Wave((CHAT, CHAT), 1)},
        {"b": ("a",), "c": ("b",)},
    )
    flat = flatten(with_repairs(plan, 2))
    assert len(flat.tasks) == 4 * 3 + 1
    assert rounds(flat, reply_part="a").reply == 4
    assert rounds(flat, reply_part="a").turn == 4 * 3 + 1


def test_a_repair_quotes_a_part_of_each_wrong_answer() -> None:
    """Its prompt grows by each answer that did not fit, and little by a long one."""
    for output_tokens, quoted in ((10, 10), (5000, REPAIR_QUOTE_TOKENS)):
        call = replace(CHAT, output_tokens=output_tokens)
        tasks = flatten(with_repairs(call, 2)).tasks
        grown = quoted + REPAIR_WORDS_TOKENS
        assert [task.call.input_tokens for task in tasks] == [100, 100 + grown, 100 + 2 * grown]


def test_no_repairs_is_the_same_plan() -> None:
    """Nothing is rebuilt for nothing."""
    assert with_repairs(CHAT, 0) is CHAT
