"""Pairs through GPTCache with its default evaluation; runs in a separate environment.

    python -m venv ENV; ENV/bin/pip install gptcache==0.1.44 faiss-cpu sqlalchemy

Reads JSON: `pairs` of texts, `vectors` by text, `thresholds` of GPTCache's setting
`similarity_threshold`. Writes `hits`, by threshold whether the second text of each pair got the
answer to the first, and the versions.
"""

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from gptcache import Cache, Config
from gptcache.adapter.api import get, init_similar_cache, put

given = json.load(sys.stdin)


class Vectors:
    """The vectors that were given, as an embedding of GPTCache."""

    dimension = len(next(iter(given["vectors"].values())))

    def to_embeddings(self, data: str, **_: object) -> np.ndarray:
        """Return the vector of a text."""
        return np.array(given["vectors"][data], dtype="float32")


def hits(first: str, second: str) -> list[bool]:
    """Return whether a cache with the first text alone answers the second, by threshold."""
    cache = Cache()
    config = Config()
    init_similar_cache(
        data_dir=tempfile.mkdtemp(dir=root), cache_obj=cache, embedding=Vectors(), config=config
    )
    put(first, "the first answer", cache_obj=cache)
    found = []
    for threshold in given["thresholds"]:
        config.similarity_threshold = threshold
        found.append(get(second, cache_obj=cache) is not None)
    cache.flush()
    return found


memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a cache syncs each answer
with tempfile.TemporaryDirectory(dir=memory) as root:
    by_pair = [hits(*pair) for pair in given["pairs"]]
by_threshold = dict(zip(map(str, given["thresholds"]), zip(*by_pair, strict=True), strict=True))
versions = {name: version(name) for name in ("gptcache", "faiss-cpu", "sqlalchemy")}
json.dump({"hits": by_threshold, "versions": versions}, sys.stdout)
