"""The layers of the call path, one per file; `budget.call_path` lists them in order."""

__all__: list[str] = []
