"""The calls of the comparison through Inspect; see `benchmarks.load.peers`.

Runs in an environment with `inspect-ai` and `openai`, without the project. Reads the task as
JSON from standard input and writes what came of it as JSON. With `batch` in the task, the calls
go through the provider's Batch API.
"""

import asyncio
import json
import sys
import time
from typing import Any

from inspect_ai import __version__
from inspect_ai.model import (
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelOutput,
    get_model,
)

KINDS = {"system": ChatMessageSystem, "user": ChatMessageUser}


def _model(task: dict[str, Any]) -> Model:
    """Return the model; it has no limit per minute, and is told the most connections instead."""
    config = GenerateConfig(
        temperature=0,
        seed=task["seed"],
        max_connections=task["max_connections"],
        max_retries=10,
        timeout=120,
        batch=task.get("batch"),
        cache=True,
    )
    return get_model(
        f"openai/{task['model']}",
        config=config,
        base_url=task["base_url"],
        api_key="none",
        responses_api=False,
    )


def _usd(output: ModelOutput, task: dict[str, Any]) -> float:
    usage = output.usage
    if usage is None:
        return 0.0
    return (
        usage.input_tokens * task["input_usd_per_million"]
        + usage.output_tokens * task["output_usd_per_million"]
    ) / 1e6


async def _ask(model: Model, call: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    messages = [KINDS[each["role"]](content=each["content"]) for each in call["messages"]]
    try:
        output = await model.generate(
            messages, config=GenerateConfig(max_tokens=call["max_tokens"])
        )
    except Exception as error:  # noqa: BLE001 - whatever it raises, the call has no answer
        return {"text": None, "error": f"{type(error).__name__}: {str(error)[:160]}", "usd": 0.0}
    return {"text": output.completion, "error": None, "usd": _usd(output, task)}


async def _main() -> None:
    task = json.load(sys.stdin)
    model = _model(task)
    began = time.perf_counter()
    outcomes = await asyncio.gather(*(_ask(model, call, task) for call in task["calls"]))
    seconds = time.perf_counter() - began
    print(
        "RESULT " + json.dumps({"outcomes": outcomes, "seconds": seconds, "version": __version__})
    )


asyncio.run(_main())
