"""Measurements of the budgeter under load."""
