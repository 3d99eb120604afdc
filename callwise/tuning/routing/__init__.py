"""Routing tables tuned on a recording: the options of each purpose, and the tables of them."""

from callwise.tuning.routing.table_search import (
    OptionPanels,
    ProposedTable,
    TableOptions,
    propose_tables,
)

__all__ = ["OptionPanels", "ProposedTable", "TableOptions", "propose_tables"]
