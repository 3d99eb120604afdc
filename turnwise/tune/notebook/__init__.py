"""A notebook's verbs: replay recorded conversations, tune from them, show a figure.

Each is one call for what takes several elsewhere; nothing here can be had in a notebook
alone.
"""

from turnwise.tune.notebook.replaying import panel_of_run, replay
from turnwise.tune.notebook.showing import Shown, show
from turnwise.tune.notebook.trial import row_of_trial
from turnwise.tune.notebook.tuning import Tuned, tune

__all__ = ["Shown", "Tuned", "panel_of_run", "replay", "row_of_trial", "show", "tune"]
