"""The reply pipeline: its state, its wiring, and one turn. `graph.app:app` is the app."""

__all__: list[str] = []
