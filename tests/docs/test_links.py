"""Every link of the README files and the documentation leads somewhere, here and on the site."""

from __future__ import annotations

import re
from functools import cache

import pytest

from .blocks import ROOT, pages, text_of

FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
EXTERNAL = re.compile(r"https?://|mailto:")
TOP = ("CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md")


@cache
def anchors_of(page: str) -> frozenset[str]:
    headings = HEADING.findall(FENCE.sub("", text_of(page)))
    plain = [re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).lower() for heading in headings]
    return frozenset(re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain)


def broken_links(page: str) -> list[str]:
    broken = []
    for target in LINK.findall(FENCE.sub("", text_of(page))):
        if EXTERNAL.match(target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent.joinpath(path).resolve() if path else ROOT / page
        if not file.exists() or (anchor and anchor not in anchors_of(file.relative_to(ROOT).as_posix())):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", pages())
def test_links_of_the_docs_lead_somewhere(page: str) -> None:
    assert broken_links(page) == []


def test_every_page_of_the_docs_is_linked_from_the_readme_or_a_page_that_is() -> None:
    linked, rest = {"README.md"}, ["README.md"]
    while rest:
        page = rest.pop()
        for target in LINK.findall(FENCE.sub("", text_of(page))):
            path = target.partition("#")[0]
            if EXTERNAL.match(target) or not path.endswith(".md"):
                continue
            name = (ROOT / page).parent.joinpath(path).resolve().relative_to(ROOT).as_posix()
            if name not in linked and (ROOT / name).exists():
                linked.add(name)
                rest.append(name)
    assert [page for page in pages() if page.startswith("docs/") and page not in linked] == []


def test_readme_fits_on_a_few_screens() -> None:
    assert len(text_of("README.md").splitlines()) <= 150
