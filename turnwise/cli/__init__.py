"""The command line; `turnwise.cli.main:main` is its entry point."""

__all__: list[str] = []
