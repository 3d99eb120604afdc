"""The shared call budgeter: everything between asking and sending."""
