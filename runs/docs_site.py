"""How `mkdocs build --strict` makes a site of docs/: the order of its pages, and links that would leave it.

The order is that of docs/index.md, so that no page is listed twice: a paragraph there is a section of the navigation.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
PARAGRAPH = re.compile(r"^\*\*(.+?)\.?\*\*(.*?)(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
PAGE = re.compile(r"\[([^\]]+)\]\(([\w-]+\.md)\)")
OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\(\.\./[^)]*\)")  # of the repository, not of docs/


def title_of(page: str) -> str:
    """The first heading of a page."""
    return (DOCS / page).read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ").split(":")[0]


def sections() -> Iterator[tuple[str, list[str]]]:
    """Each section of docs/index.md and the pages that it names first; after a page those that only it leads to."""
    seen = {"index.md"}
    for title, text in PARAGRAPH.findall((DOCS / "index.md").read_text(encoding="utf-8")):
        pages = []
        for _, page in PAGE.findall(text):
            parts = PAGE.findall((DOCS / page).read_text(encoding="utf-8")) if page == "extending.md" else []
            for name in (page, *(part for _, part in parts if part.startswith("extending-"))):
                if name not in seen:
                    seen.add(name)
                    pages.append(name)
        yield title, pages


def on_config(config: Any) -> Any:
    """Set the navigation: mkdocs calls it once the settings are read."""
    listed = [{title: [{title_of(page): page} for page in pages]} for title, pages in sections() if pages]
    config.nav = [{"Home": "index.md"}, *listed]
    return config


def on_page_markdown(markdown: str, **of_page: Any) -> str:
    """Leave only the words of links to files that are not on the site: mkdocs calls it for each page."""
    return OUTSIDE.sub(r"\1", markdown)
