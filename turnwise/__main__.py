"""`python -m turnwise` is the `turnwise` command."""

from turnwise.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
