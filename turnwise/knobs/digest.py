"""One line that stands for all settings, in manifests and baselines."""

import hashlib

import orjson
from pydantic import BaseModel

__all__ = ["settings_digest"]


def settings_digest(model: BaseModel) -> str:
    """Return the SHA-256 of all settings, defaults included, in hexadecimal.

    Equal settings give equal digests, whatever they were read from. A new knob with
    a default changes the digest: the settings it stands for have grown.
    """
    document = model.model_dump(mode="json")
    data = orjson.dumps(document, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.sha256(data).hexdigest()
