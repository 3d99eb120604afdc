"""The calls of the comparison through LiteLLM's Router with Redis; see `benchmarks.load.peers`.

Runs in an environment with `litellm` and `redis`, without the project. Reads the task as JSON
from standard input and writes what came of it as JSON.
"""

import asyncio
import json
import os
import sys
import time
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks another host for prices

import litellm


def _router(task: dict[str, Any]) -> litellm.Router:
    """Return a router that knows the limit and shares its cache and counts over Redis."""
    return litellm.Router(
        model_list=[
            {
                "model_name": "main",
                "litellm_params": {
                    "model": f"openai/{task['model']}",
                    "api_base": task["base_url"],
                    "api_key": "none",
                    "rpm": task["requests_per_minute"],
                    "input_cost_per_token": task["input_usd_per_million"] / 1e6,
                    "output_cost_per_token": task["output_usd_per_million"] / 1e6,
                },
            }
        ],
        redis_host="127.0.0.1",
        redis_port=task["redis_port"],
        cache_responses=True,
        routing_strategy="usage-based-routing-v2",
        num_retries=10,
        timeout=60,
    )


async def _ask(router: litellm.Router, call: dict[str, Any], seed: int) -> dict[str, Any]:
    try:
        response = await router.acompletion(
            model="main",
            messages=call["messages"],
            temperature=0,
            seed=seed,
            max_tokens=call["max_tokens"],
        )
    except Exception as error:  # noqa: BLE001 - whatever it raises, the call has no answer
        return {"text": None, "error": f"{type(error).__name__}: {str(error)[:160]}", "usd": 0.0}
    usd = response._hidden_params.get("response_cost") or 0.0  # noqa: SLF001 - as its docs have it
    return {"text": response.choices[0].message.content, "error": None, "usd": usd}


async def _main() -> None:
    task = json.load(sys.stdin)
    router = _router(task)
    began = time.perf_counter()
    outcomes = await asyncio.gather(*(_ask(router, call, task["seed"]) for call in task["calls"]))
    seconds = time.perf_counter() - began
    version = getattr(litellm, "__version__", "") or ""
    print("RESULT " + json.dumps({"outcomes": outcomes, "seconds": seconds, "version": version}))


asyncio.run(_main())
