"""Every link of the README files and the documentation leads somewhere, here and on the site."""

from __future__ import annotations

import re
import tomllib

import pytest

from .blocks import ROOT, pages, text_of
from .links import anchors_of, links_of, target_of
from .site import with_titles

pytestmark = pytest.mark.requirement("DOCS-01")


def is_broken(page: str, link: str) -> bool:
    # On the site a link to a folder leads nowhere.
    file = target_of(page, link)
    anchor = link.partition("#")[2]
    return not (ROOT / file).is_file() or (anchor != "" and anchor not in anchors_of(file))


@pytest.mark.parametrize("page", pages())
def test_links_of_the_docs_lead_somewhere(page: str) -> None:
    assert [link for link in links_of(page) if is_broken(page, link)] == []


def test_every_page_of_the_docs_is_linked_from_the_readme_or_a_page_that_is() -> None:
    linked, rest = {"README.md"}, ["README.md"]
    while rest:
        page = rest.pop()
        found = {target_of(page, link) for link in links_of(page)} & {*pages()} - linked
        linked |= found
        rest += found
    assert [page for page in pages() if page.startswith("docs/") and page not in linked] == []


def test_every_page_of_the_docs_is_in_the_navigation_of_the_site() -> None:
    navigation = tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]["nav"]
    listed = set(re.findall(r"[\w./-]+\.md", str(navigation)))
    assert {page for page in pages() if page.startswith("docs/")} - listed == set()
    assert listed - {*pages()} == set()


def test_readme_fits_on_a_few_screens() -> None:
    assert len(text_of("README.md").splitlines()) <= 150


def test_site_shows_titles_in_place_of_names_of_files() -> None:
    assert "[Deployment](deployment.md#proxies)" in with_titles("docs/frontend.md")
    assert [page for page in pages() if re.search(r"\[[\w./-]+\.md\]\(", with_titles(page))] == []
