"""Heavy libraries, loaded when something is drawn and not before."""

from importlib import import_module
from typing import Any

from turnwise.calls.errors import ConfigError

__all__ = ["loaded"]


def loaded(module: str) -> Any:
    """Return a module of plotly or matplotlib.

    Args:
        module: its dotted name.

    Raises:
        ConfigError: when the library is not installed; it names the extra that has it.
    """
    library = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != library:
            raise
        raise ConfigError(
            f"drawing needs {library}, which is not installed: pip install 'turnwise[tune]'"
        ) from error
