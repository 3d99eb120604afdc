"""The environment variables that are no knobs, each with what it sets.

A variable that is named almost like one of them, or like a knob with single underscores, does
nothing: it is reported with what was meant, and is no error, since any program may name its own.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import SequenceMatcher

from pydantic import BaseModel

from callwise.knobs.knob_paths import knob_paths

__all__ = ["VARIABLES", "misspelt_variables"]

PREFIX = "CALLWISE_"
_LEAST_LIKENESS = 0.8
"""Of two names without the prefix; `MODLE` and `MODEL` have it, `MY_KEY` and `API_KEY` do not."""

VARIABLES: Mapping[str, str] = {
    "CALLWISE_BASE_URL": "URL of the endpoint of roles that name none, with its version.",
    "CALLWISE_MODEL": "Model of the role main, and of roles that name none.",
    "CALLWISE_API_KEY": "Key for the host of `CALLWISE_BASE_URL`, and of endpoints without "
    "`api_key_env`.",
    "CALLWISE_JUDGE_MODEL": "Model of the role judge.",
    "CALLWISE_FAST_MODEL": "Model of the role fast.",
    "CALLWISE_EMBED_MODEL": "Model of embeddings; without one there are none.",
    "CALLWISE_TRUST_ENDPOINTS": "Hosts that preset files and recordings may name, as "
    "`--trust-endpoint` has them, with commas or blanks between.",
    "CALLWISE_TRUST_CODE": "Models and apps that they may name, as `--trust-code` has them.",
    "CALLWISE_MAX_DOCUMENT_MB": "Longest line, row or document of conversations; 256 by default.",
    "CALLWISE_MAX_FILE_MB": "Largest file of conversations, unpacked; 8000 by default.",
    "CALLWISE_REFEREE_MODEL": "Model that judges the replies of a sweep.",
    "CALLWISE_REFEREE_BASE_URL": "Its endpoint, where it is another one.",
    "CALLWISE_REFEREE_API_KEY": "Its key.",
    "CALLWISE_REFEREE_USD_PER_MILLION": "Its prices, input and output, as 0.3,0.5.",
    "CALLWISE_REDIS_URL": "Redis server of what processes share (`load.fleet.url_env`).",
    "CALLWISE_MEMORY_URL": "Postgres or Redis server of agents' notes (`memory.backend`).",
    "CALLWISE_SERVE_TOKEN": "Token that clients of `callwise serve` show.",
    "CALLWISE_PRESET": "Preset under `langgraph dev`; `classic` by default.",
    "CALLWISE_HOME": "Folder of memory and threads under `langgraph dev`.",
    "CALLWISE_AGENTS": "File of agents under `langgraph dev`.",
}  # fmt: skip
"""By name; docs/knobs.md lists them."""


def misspelt_variables(
    environ: Mapping[str, str], models: Collection[type[BaseModel]], settings_text: str = ""
) -> Iterator[str]:
    """Yield a sentence for each variable that does nothing, but is named almost like one that does.

    Args:
        models: of the settings; their knobs may be meant.
        settings_text: the settings as text: a variable that they name is used.
    """
    used = {*VARIABLES, *re.findall(rf"{PREFIX}\w+", settings_text)}
    knobs = {
        knob.path.replace(".", "_").upper(): knob.path
        for model in models
        for knob in knob_paths(model)
    }
    for variable in sorted(environ):
        name = variable.upper()
        if not name.startswith(PREFIX) or "__" in name or variable in used:
            continue
        name = name.removeprefix(PREFIX)
        if name in knobs:
            meant = f"{PREFIX}_{knobs[name].replace('.', '__').upper()}"
        else:
            likeness = {each: _likeness(name, each.removeprefix(PREFIX)) for each in VARIABLES}
            meant = max(likeness, key=lambda each: likeness[each])
            if likeness[meant] < _LEAST_LIKENESS:
                continue
        yield f"the environment variable {variable} does nothing; did you mean {meant}?"


def _likeness(first: str, second: str) -> float:
    return SequenceMatcher(None, first, second, autojunk=False).ratio()
