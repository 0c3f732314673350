"""Copies the pages of the site, and the files that they link to, to where the generator reads them.

The README and the examples are part of the site, and links between them and docs/ work there as they do here. A link
whose text is the name of a page's file has the page's title there.
"""

from __future__ import annotations

import re
import shutil

from .blocks import ROOT, pages, text_of
from .links import links_of, target_of

SITE = ROOT / "build" / "site"

_LINK = re.compile(r"\[[\w./-]+\.md\](?=\((?P<link>[^)]+)\))")


def with_titles(page: str) -> str:
    """Returns the text of a page, whose links to others show titles in place of names of files."""
    return _LINK.sub(lambda found: f"[{_title_of(target_of(page, found['link'])) or found[0][1:-1]}]", text_of(page))


def _title_of(page: str) -> str | None:
    heading = re.search(r"^# (.+)$", text_of(page), re.MULTILINE) if page in pages() else None
    return heading[1] if heading else None


def main() -> None:
    shutil.rmtree(SITE, ignore_errors=True)
    linked = {target_of(page, link) for page in pages() for link in links_of(page)}
    for name in sorted({*pages(), *linked}):
        target = SITE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name in pages():
            target.write_text(with_titles(name), encoding="utf-8")
        else:
            shutil.copyfile(ROOT / name, target)


if __name__ == "__main__":
    main()
