"""Data sets of the Hugging Face Hub, downloaded as files that the usual readers read.

Only files of conversations are downloaded, and nothing of a data set is run: its scripts are not
even fetched. The library keeps what it has downloaded, and takes a key for data sets that need one
from `HF_TOKEN`.
"""

import re
from collections.abc import Callable
from pathlib import Path

from callwise.calls.errors import ConfigError
from callwise.optional_library import install_hint, loaded
from callwise.recordings.source_files import SUFFIXES

__all__ = ["downloaded"]

_NEED = f"Data sets of the Hugging Face Hub need an extra: {install_hint('datasets')}"
_NAME = re.compile(r"(?P<name>[\w-][\w.-]*/[\w-][\w.-]*)(?::(?P<pattern>[^:]+))?")


def downloaded(name: str, *, download: Callable[..., str] | None = None) -> str:
    """Return the folder of a data set, or the pattern of its chosen files, once it is downloaded.

    Args:
        name: OWNER/NAME, or OWNER/NAME:PATTERN for some of its files, such as
            `data/train-*.parquet`.
        download: takes the place of `huggingface_hub.snapshot_download`.

    Raises:
        ConfigError: when it is no such name, cannot be downloaded, or the library is missing.
    """
    match = _NAME.fullmatch(name)
    if match is None or ".." in name:
        raise ConfigError(
            f"expected a data set of the Hub, as OWNER/NAME or OWNER/NAME:PATTERN, got {name!r}"
        )
    fetch = download or loaded("huggingface_hub", _NEED).snapshot_download
    pattern = match["pattern"]
    patterns = [pattern] if pattern else [f"*{suffix}" for suffix in SUFFIXES]
    try:
        folder = fetch(match["name"], repo_type="dataset", allow_patterns=patterns)
    except (OSError, ValueError) as error:  # the library's errors are some of these
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"cannot download {name} from the Hub: {reason}. A data set that asks for consent "
            "needs HF_TOKEN"
        ) from error
    return str(Path(folder, pattern)) if pattern else folder
