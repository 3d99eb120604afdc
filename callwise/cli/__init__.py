"""The command line; `callwise.cli.main:main` is its entry point."""

__all__: list[str] = []
