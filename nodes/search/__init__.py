"""Calls and answer forms of the tree search's actions."""

__all__: list[str] = []
