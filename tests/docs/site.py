"""Copies the pages of the site, and the files that they link to, to where the generator reads them.

The README and the examples are part of the site, and links between them and docs/ work there as they do here.
"""

from __future__ import annotations

import shutil

from .blocks import ROOT, pages
from .links import links_of, target_of

SITE = ROOT / "build" / "site"


def main() -> None:
    shutil.rmtree(SITE, ignore_errors=True)
    linked = {target_of(page, link) for page in pages() for link in links_of(page)}
    for name in sorted({*pages(), *linked}):
        target = SITE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)


if __name__ == "__main__":
    main()
