"""Pairs through GPTCache with its default evaluation; runs in an environment of its own.

    python -m venv ENV; ENV/bin/pip install gptcache==0.1.44 faiss-cpu sqlalchemy

Reads JSON: `pairs` of texts, `vectors` by text, `thresholds` of GPTCache's setting
`similarity_threshold`. Writes `hits`, by threshold whether the second text of each pair got the
answer to the first, and the versions.
"""

import json
import sys
import tempfile
from importlib.metadata import version

import numpy as np
from gptcache import Cache, Config
from gptcache.adapter.api import get, init_similar_cache, put

given = json.load(sys.stdin)


class Vectors:
    """The vectors that were given, as an embedding of GPTCache."""

    dimension = len(next(iter(given["vectors"].values())))

    def to_embeddings(self, data, **_):
        """Return the vector of a text."""
        return np.array(given["vectors"][data], dtype="float32")


def is_hit(first, second, threshold):
    """Return whether a cache with the first text alone answers the second."""
    folder = tempfile.mkdtemp(dir=root)
    cache = Cache()
    init_similar_cache(
        data_dir=folder,
        cache_obj=cache,
        embedding=Vectors(),
        config=Config(similarity_threshold=threshold),
    )
    put(first, "the first answer", cache_obj=cache)
    answer = get(second, cache_obj=cache)
    cache.flush()
    return answer is not None


with tempfile.TemporaryDirectory() as root:
    hits = {
        str(threshold): [is_hit(*pair, threshold) for pair in given["pairs"]]
        for threshold in given["thresholds"]
    }
versions = {name: version(name) for name in ("gptcache", "faiss-cpu", "sqlalchemy")}
json.dump({"hits": hits, "versions": versions}, sys.stdout)
