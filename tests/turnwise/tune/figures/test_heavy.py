"""Heavy libraries, and what is said without them."""

import subprocess
import sys

import pytest

from turnwise.calls.errors import ConfigError
from turnwise.tune.figures import to_matplotlib, to_plotly, tradeoff_of


@pytest.mark.parametrize(
    ("library", "draw"), [("plotly", to_plotly), ("matplotlib", to_matplotlib)]
)
def test_a_missing_library_names_the_extra(monkeypatch, library, draw) -> None:
    """The way out stands in the error."""
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=rf"{library}, .* pip install 'turnwise\[tune\]'"):
        draw(tradeoff_of([]))


def test_the_door_loads_no_heavy_library() -> None:
    """Whoever only makes records waits for nothing."""
    code = (
        "import sys, turnwise.tune.figures as f; f.tradeoff_of([]);"
        "print([n for n in ('plotly', 'matplotlib', 'pandas') if n in sys.modules])"
    )
    ran = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"
