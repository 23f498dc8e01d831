"""The documentation site, where ``MEDBENCH_SITE`` names the folder that it was built into."""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from chromium import Chromium

SITE = Path(os.environ.get("MEDBENCH_SITE", "/nonexistent")).absolute()
#: Templates of the theme are no pages; boards are tested by test_browser.py.
LINKED = [page for page in sorted(SITE.rglob("*.html")) if "_static" not in page.parts]
PAGES = [page for page in LINKED if "boards" not in page.parts]


class Links(HTMLParser):
    """Collects what a page links to, and what can be linked to in it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        self.targets += [found[name] for name in ("href", "src") if name in found]


@pytest.mark.skipif(not PAGES, reason="MEDBENCH_SITE names no site")
def test_every_link_leads_somewhere() -> None:
    read = {page: Links(page) for page in LINKED}
    broken = []
    for page, links in read.items():
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            there = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if not there.exists() or (
                parts.fragment
                and there in read
                and unquote(parts.fragment) not in read[there].anchors
            ):
                broken.append(f"{page.relative_to(SITE)}: {target}")
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(SITE)))
def test_a_page_is_accessible_and_fits_wide_and_narrow(page: Path, chromium: Chromium) -> None:
    for width in (1280, 360):
        chromium.emulate(width=width)
        chromium.open(page)
        serious = {
            f"{finding['id']}: {node['html'][:200]}"
            for finding in chromium.axe()
            if finding["impact"] in ("serious", "critical")
            for node in finding["nodes"]
        }
        assert serious == set()
        assert chromium.run("return document.documentElement.scrollWidth") <= width
        assert [url for url in chromium.network() if not url.startswith(("file:", "data:"))] == []
