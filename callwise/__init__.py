"""Callwise counts, limits, records and replays the LLM calls of a program.

`import callwise as cw` is enough for the main jobs, and loads nothing heavy: a name's module is
imported when the name is first used. The rest is in the packages, which know no pipeline.
"""

from typing import TYPE_CHECKING

__all__ = ["Budgeter", "Limits", "__version__", "answered_by", "check", "compare", "draw"]
__all__ += ["example_module", "example_path", "intervals", "plan", "presets", "replay", "show"]
__all__ += ["tune", "wrap", "write_page"]

__version__ = "0.1.0"

if TYPE_CHECKING:
    from callwise.budget import Budgeter, Limits
    from callwise.budget.wrapping import wrap
    from callwise.shipped import example_module, example_path
    from callwise.testing.gate.notebook_check import check
    from callwise.tuning.notebook import tune
    from callwise.tuning.notebook_output import show
    from callwise.tuning.notebook_runs import answered_by, plan, presets, replay
    from callwise.tuning.notebook_views import compare, draw, intervals, write_page
else:
    _NAMES = {
        "callwise.budget": "Budgeter Limits",
        "callwise.budget.wrapping": "wrap",
        "callwise.shipped": "example_module example_path",
        "callwise.testing.gate.notebook_check": "check",
        "callwise.tuning.notebook": "tune",
        "callwise.tuning.notebook_output": "show",
        "callwise.tuning.notebook_runs": "answered_by plan presets replay",
        "callwise.tuning.notebook_views": "compare draw intervals write_page",
    }
    _MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

    def __getattr__(name):  # noqa: ANN001, ANN202 - hidden from type checkers, see above
        if name not in _MODULES:
            raise AttributeError(f"module 'callwise' has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - loaded by then

        return globals().setdefault(name, getattr(import_module(_MODULES[name]), name))

    def __dir__():  # noqa: ANN202
        return sorted(__all__)
