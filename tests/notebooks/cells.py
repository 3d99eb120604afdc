"""Cells of a notebook, edited and executed in this process, with what Jupyter asks of a value."""

import ast
import json
from collections.abc import Mapping, Sequence
from inspect import CO_COROUTINE
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

__all__ = ["FOLDER", "PATHS", "Session", "sources_of"]

FOLDER = Path(__file__).parents[2] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))

_FORMS = ("_repr_mimebundle_", "_repr_html_", "__repr__")


def sources_of(name: str, edits: Mapping[str, str] | None = None) -> list[str]:
    """Return the code cells of a notebook, with texts replaced, each of which occurs once."""
    (path,) = FOLDER.glob(f"{name}*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    found = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    for old, new in (edits or {}).items():
        assert "\n".join(found).count(old) == 1, (path.name, old)
        found = [source.replace(old, new) for source in found]
    return found


class Session:
    """The names of one kernel. `shown` has the value of each cell that ended in one."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.shown: list[Any] = []

    async def run(self, cells: Sequence[str]) -> None:
        """Execute cells one after another."""
        for number, source in enumerate(cells, 1):
            tree = ast.parse(source)
            last = tree.body[-1] if tree.body else None
            if isinstance(last, ast.Expr):
                tree.body.pop()
            await self._execute(compile(tree, f"cell {number}", "exec", _AWAIT))
            if isinstance(last, ast.Expr):
                code = compile(ast.Expression(last.value), f"cell {number}", "eval", _AWAIT)
                self._show(await self._execute(code))

    async def _execute(self, code: CodeType) -> Any:
        value = FunctionType(code, self.names)()
        return await value if code.co_flags & CO_COROUTINE else value

    def _show(self, value: Any) -> None:
        if value is not None:
            self.shown.append(value)
            record = getattr(value, "record", None)
            forms = _FORMS if record is None else ("__repr__",)  # its picture takes a second
            for form in forms:
                if hasattr(value, form):
                    assert getattr(value, form)(), (form, value)


_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
