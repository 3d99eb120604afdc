"""Callwise counts, limits, records and replays the LLM calls of a program.

`import callwise as cw` is enough for the main jobs, and loads nothing heavy: a name's module is
imported when the name is first used. The rest is in the packages (`callwise.calls`,
`callwise.budget`, `callwise.recordings`, ...), which know no pipeline.
"""

from typing import TYPE_CHECKING

__all__ = ["Budgeter", "Limits", "__version__", "plan", "replay", "show", "tune", "wrap"]

__version__ = "0.1.0"

if TYPE_CHECKING:
    from callwise.budget.budgeter import Budgeter
    from callwise.budget.limits import Limits
    from callwise.budget.wrapping import wrap
    from callwise.tuning.notebook import plan, replay, tune
    from callwise.tuning.notebook_output import show
else:
    _MODULES = {
        "Budgeter": "callwise.budget.budgeter",
        "Limits": "callwise.budget.limits",
        "plan": "callwise.tuning.notebook",
        "replay": "callwise.tuning.notebook",
        "show": "callwise.tuning.notebook_output",
        "tune": "callwise.tuning.notebook",
        "wrap": "callwise.budget.wrapping",
    }

    def __getattr__(name):  # noqa: ANN001, ANN202 - hidden from type checkers, see above
        if name not in _MODULES:
            raise AttributeError(f"module 'callwise' has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - loaded by then

        return globals().setdefault(name, getattr(import_module(_MODULES[name]), name))

    def __dir__():  # noqa: ANN202
        return sorted(__all__)
