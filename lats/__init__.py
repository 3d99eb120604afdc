"""The tree search: plain synchronous maths with `ask` and `tell`. It knows no model."""

__all__: list[str] = []
