"""The command line. `turnwise.cli.main:main` is its entry; rooms are loaded when used."""

__all__: list[str] = []
