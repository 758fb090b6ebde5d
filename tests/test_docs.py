"""Links of the README and of the pages lead somewhere.

Text moves between pages, and a heading is reworded: neither breaks anything else here, and a reader finds out first.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^(```|~~~).*?^\1$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(([^()\s]+)\)")


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return what GitHub calls a page's headings: lower case, words joined by hyphens, no punctuation."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path) -> list[str]:
    found = []
    for target in LINK.findall(SPAN.sub("", prose(page))):
        if re.match(r"[a-z]+:", target):  # elsewhere: no test needs a network
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        if not other.exists() or (anchor and anchor not in anchors(other)):
            found.append(target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Yes, and `no`\n\n[a](#yes-and-no) [b](#maybe) [c](page.md) [d](other.md) [e](page.md#yes)\n"
        "[f](https://example.org) `[g](none.md)`\n\n```text\n[h](none.md)\n# code\n```\n\n[i](#code)\n"
    )
    assert broken(page) == ["#maybe", "other.md", "page.md#yes", "#code"]


def test_every_page_is_linked_from_the_readme() -> None:
    """A page that nobody links is a page that nobody reads."""
    linked = {link.partition("#")[0] for link in LINK.findall(prose(ROOT / "README.md"))}
    assert {page.relative_to(ROOT).as_posix() for page in PAGES} - linked == {"README.md"}
