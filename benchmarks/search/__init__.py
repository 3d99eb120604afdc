"""The search measured on recorded model outputs, beside others, at equal requests."""

__all__: list[str] = []
