"""The links of the README files and the documentation."""

from __future__ import annotations

import os
import re
from functools import cache

from .blocks import text_of

_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_EXTERNAL = re.compile(r"https?://|mailto:")


@cache
def prose_of(page: str) -> str:
    """Returns a page without its blocks of code."""
    return _FENCE.sub("", text_of(page))


@cache
def anchors_of(page: str) -> frozenset[str]:
    """Returns the anchors of a page's headings, as GitHub and the site make them."""
    headings = _HEADING.findall(prose_of(page))
    plain = [re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).lower() for heading in headings]
    return frozenset(re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain)


@cache
def links_of(page: str) -> tuple[str, ...]:
    """Returns the links to files and headings of this repository."""
    return tuple(link for link in _LINK.findall(prose_of(page)) if not _EXTERNAL.match(link))


def target_of(page: str, link: str) -> str:
    """Returns the path of the file that a link leads to, from the root of the repository."""
    path = link.partition("#")[0]
    return os.path.normpath(os.path.join(os.path.dirname(page), path)).replace(os.sep, "/") if path else page
