"""`python -m callwise` is the `callwise` command."""

import os
import sys
from pathlib import Path

__all__: list[str] = []

if __name__ == "__main__":
    # `-m` puts the working directory before everything that is installed. It may be anybody's:
    # a file of the name `graph.py` in it is neither run nor in the way.
    if not sys.flags.safe_path and sys.path[0] in {"", os.getcwd()}:  # noqa: PTH109 - a text
        sys.path[0] = str(Path(__file__).resolve().parent.parent)
        sys.path.append(sys.path.pop(0))

    from callwise.cli.main import main

    main()
