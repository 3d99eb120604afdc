"""Links of the site that leave docs/: they go to the file in the repository.

A hook of MkDocs (`hooks` in mkdocs.yml). A link to a file that there is not fails the build.
"""

import logging
import re
from pathlib import Path
from typing import Any

__all__ = ["on_page_markdown"]

ROOT = Path(__file__).resolve().parent.parent

_OUTSIDE = re.compile(r"(?<=\]\()\.\./([^)#\s]+)")
"""A link from docs/ to a file of the repository."""

_LOGGER = logging.getLogger("mkdocs.callwise")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Return a page's text with links that work on the site."""
    del files
    base = f"{config['repo_url']}/blob/main/"

    def link(found: re.Match[str]) -> str:
        if not (ROOT / found[1]).exists():
            _LOGGER.warning("%s links to %s, which there is not", page.file.src_path, found[0])
        return base + found[1]

    return _OUTSIDE.sub(link, markdown)
