"""A run as one page: a file that opens from disk, needs no network and runs no foreign script."""

from callwise.report.page.page_html import WrittenPage, write_page

__all__ = ["WrittenPage", "write_page"]
