"""Statistics of panels: intervals, comparisons, fronts, recommendations, races.

Independent of rows, settings and recordings; `docs/statistics.md` explains every method.
"""

__all__: list[str] = []
