"""Test support: the pytest plugin, the regression gate, fakes."""

__all__: list[str] = []
