"""The steps before the search that ask a model: detection, inner monologue and reasoner.

Each asks for itself; or detection asks one fused call for all three, or for the reply
where `fuse.reply` says so, and the others find theirs done. What that call leaves out,
its own step asks for: see `nodes.fused_parts`.
"""

from collections.abc import Mapping
from typing import Any

from graph.context import TurnContext
from graph.holding import hold_again
from graph.materials import thinking_material
from graph.state import TurnState, degraded_by
from nodes.detection import detect
from nodes.fused_thinking import Thoughts, reply_at_once, think_at_once
from nodes.inner_monologue import think
from nodes.reasoner import reason

__all__ = ["detection", "inner_monologue", "reasoner"]


async def _ask_at_once(state: TurnState, context: TurnContext) -> dict[str, Any]:
    """Return what a fused call brought of detection, monologue, plan and reply."""
    ask = reply_at_once if state.fusing.reply else think_at_once
    thoughts = await ask(context.asker, thinking_material(state))
    if state.fusing.reply and thoughts.reply is None:
        scope = context.engine.turn(state.identity)
        if scope is not None:
            hold_again(context.engine, scope, state)
    return _of_thoughts(thoughts)


def _of_thoughts(thoughts: Thoughts) -> dict[str, Any]:
    update: dict[str, Any] = {}
    nodes: list[str] = []
    if thoughts.detection is not None:
        update["detection"] = thoughts.detection
        nodes.append("detection")
    if thoughts.monologue is not None:
        update["monologue"] = thoughts.monologue
        nodes.append("inner_monologue")
    if thoughts.plan is not None:
        update["plan"] = thoughts.plan
        nodes.append("reasoner")
    if thoughts.reply is not None:
        update["draft"] = thoughts.reply
        nodes.append("lats_search")
    return {**update, "answered": nodes, "degraded": list(thoughts.degradations)}


async def detection(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    """Return what was found in the message, or what a fused call found and thought."""
    fused: dict[str, Any] = {}
    if state.fusing.thinking:
        fused = await _ask_at_once(state, context)
        if "detection" in fused:
            return fused
    found, degradation = await detect(
        context.asker,
        language=state.language,
        user_text=state.user_text,
        history=state.history,
        persona=state.persona,
        relationship=state.relationship,
        summary=state.earlier,
    )
    return {**fused, "detection": found, **degraded_by(degradation, fused.get("degraded", ()))}


async def inner_monologue(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    """Return what the agent thinks."""
    if "inner_monologue" in state.answered:
        return {}
    monologue, degradation = await think(
        context.asker,
        language=state.language,
        user_text=state.user_text,
        history=state.history,
        persona=state.persona,
        relationship=state.relationship,
        summary=state.earlier,
        detection=state.detection,
        mode=state.mode,
    )
    return {"monologue": monologue, **degraded_by(degradation)}


async def reasoner(state: TurnState, context: TurnContext) -> Mapping[str, Any]:
    """Return what the reply should reach."""
    if "reasoner" in state.answered:
        return {}
    plan, degradation = await reason(
        context.asker,
        language=state.language,
        user_text=state.user_text,
        history=state.history,
        persona=state.persona,
        relationship=state.relationship,
        summary=state.earlier,
        detection=state.detection,
        monologue=state.monologue,
        mood=state.mood,
        mode=state.mode,
    )
    return {"plan": plan, **degraded_by(degradation)}
