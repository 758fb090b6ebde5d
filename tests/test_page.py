"""The results page holds everything it shows, and can be used with a keyboard and on a phone."""

import os
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from repro.report import page
from repro.stats import Interval
from repro.tables import Column, Table, write

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 36"><rect width="72" height="36"/></svg>'
SOURCE = {"study": "author2000", "experiment": "a", "scale": "full", "num_runs": 6}
LISTED = {
    "missing": "",
    "sources": [SOURCE],
    "num_runs": 6,
    "commits": ["c0ffee"],
    "devices": ["a <machine>"],
    "commands": ["nox -s run -- author2000 --scale full --only a"],
}


def claim(number: int, verdict: str) -> dict[str, Any]:
    check = {"outcome": "holds", "text": f"ratio: {number} [0, 9] n=3", "expected": "< 1"}
    return {
        "study": "author2000",
        "number": number,
        "text": f"claim <{number}>",
        "where": "Fig. 1",
        "verdict": verdict,
        "label": verdict,
        "reason": "",
        "checks": [check],
        "figures": ["fig"],
    }


FACTS: dict[str, Any] = {
    "counts": {"reproduced": 1, "partly": 0, "not reproduced": 1, "not tested": 0},
    "answers": [
        {
            "question": "Is it <so>?",
            "text": "Yes & no.",
            "claims": [["author2000", 1], ["author2000", 2]],
            "stale": [],
        }
    ],
    "claims": {"author2000/1": claim(1, "reproduced"), "author2000/2": claim(2, "not reproduced")},
    "studies": {"author2000": {"claims": 2}},
    "runs": {
        "total": 6,
        "trials": 0,
        "diverged": 1,
        "core_hours": "0.1",
        "torch": ["2"],
        "devices": ["a <machine>"],
    },
    "figures": [{**LISTED, "name": "fig", "title": "A & B", "missing": "all of it"}],
    "tables": [
        {**LISTED, "name": "tab", "title": "Numbers"},
        {**LISTED, "name": "wide", "title": "Wide"},
    ],
    "not_run": ["figure fig: all of it"],
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "fig.svg").write_text(SVG)
    column = Column("x", "x", format=".0f")
    cells = ((Interval(10.0, 9, 11, 3, 0.95),), (2.0,), (None,), (-3.0,))
    write(Table("tab", "Numbers", (column,), cells), folder)
    write(Table("completeness", "What was run", (column,), ()), folder)
    wide = tuple(Column(f"c{place}", f"column {place}", "left") for place in range(30))
    write(Table("wide", "Wide", wide, (tuple(f"cell {place}" for place in range(30)),)), folder)
    page.write(folder / "index.html", FACTS, folder, folder)
    return folder / "index.html"


class _Shape(HTMLParser):
    """Collects ids, targets of links, and tags that are not closed."""

    VOID = ("meta", "link", "img", "input", "br", "rect")

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.ids += [named["id"] or ""] if "id" in named else []
        self.links += [named["href"] or ""] if tag == "a" else []
        self.loads += (
            [named.get("src") or named.get("href") or ""]
            if tag in ("img", "script", "link")
            else []
        )
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_tag_closes_every_link_leads_somewhere_and_nothing_is_loaded(built: Path) -> None:
    shape = _Shape()
    shape.feed(built.read_text())
    assert shape.open == []
    assert len(shape.ids) == len(set(shape.ids))
    assert {link.removeprefix("#") for link in shape.links} <= set(shape.ids)
    assert all(not load or load.startswith("data:") for load in shape.loads)


def test_text_is_shown_as_it_is(built: Path) -> None:
    text = built.read_text()
    assert "claim &lt;1&gt;" in text
    assert "<machine>" not in text
    assert "A &amp; B" in text
    assert "Is it &lt;so&gt;?</strong> Yes &amp; no." in text


def test_a_figure_says_how_it_was_made_and_what_was_not_run(built: Path) -> None:
    text = built.read_text()
    assert "Not run: all of it" in text
    for words in ("author2000 a, full scale: 6 runs", "c0ffee", "nox -s figures -- fig"):
        assert words in text
    assert re.search(r'<section id="audit".*?not run.*?</section>', text, re.DOTALL)


def test_findings_are_folded_by_rule_with_their_counts(built: Path, tmp_path: Path) -> None:
    columns = tuple(
        Column(name, name.capitalize(), "left")
        for name in ("rule", "status", "comparisons", "found", "mend")
    )
    rows = (
        ("budget", "fail", "a, b", "3 <of> 4", "run more"),
        ("budget", "fail", "c", "2 of 4", "run more"),
        ("budget", "unknown", "d", "not in the evidence: trials", "run more"),
        ("edge", "unknown", "d", "not in the evidence: ranges", "extend"),
        ("edge", "warn", "e", "near", "extend"),
    )
    folder = built.parent
    write(Table("audit_findings", "What was found", columns, rows), folder)
    facts = FACTS | {"tables": [{**LISTED, "name": "audit_findings", "title": "What was found"}]}
    page.write(tmp_path / "index.html", facts, folder, folder)
    text = (tmp_path / "index.html").read_text()
    section = text[text.index('<section id="audit"') : text.index('<section id="completeness"')]
    summaries = re.findall(r"<details><summary>(.*?)</summary>", section)
    assert summaries == ["budget: 2 fail", "edge: 1 warn", "2 unknown: the evidence does not say"]
    shown = re.findall(r'<tr><td class="left">(\w+)</td><td class="left">(\w+)</td>', section)
    assert shown == [(r, s) for r, s, *_ in (rows[0], rows[1], rows[4], rows[2], rows[3])]
    assert "3 &lt;of&gt; 4" in section
    shape = _Shape()
    shape.feed(text)
    assert shape.open == []
    assert len(shape.ids) == len(set(shape.ids))


def test_the_same_facts_give_the_same_bytes(built: Path) -> None:
    other = built.with_name("again.html")
    page.write(other, FACTS, built.parent, built.parent)
    assert other.read_bytes() == built.read_bytes()


# In a real browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is installed")
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def view(browser: Any, built: Path) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1200, "height": 800})
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.goto(built.as_uri())
    yield opened
    opened.close()
    assert faults == []


def test_heads_sort_by_value_with_the_keyboard(view: Any) -> None:
    head = view.locator("#tbl-tab th button")
    shown = view.locator("#tbl-tab tbody td")
    orders = {
        "ascending": ["−3", "2", "10 [9, 11], n=3", "not run"],  # noqa: RUF001
        "descending": ["10 [9, 11], n=3", "2", "−3", "not run"],  # noqa: RUF001
        None: ["10 [9, 11], n=3", "2", "not run", "−3"],  # noqa: RUF001
    }
    head.focus()
    for direction, texts in orders.items():
        view.keyboard.press("Enter")
        assert view.locator("#tbl-tab th").get_attribute("aria-sort") == direction
        assert shown.all_inner_texts() == texts


def test_claims_are_filtered_and_opened_by_their_link(view: Any) -> None:
    view.locator("#verdict").select_option("not-reproduced")
    rows = view.locator("#tbl-page-claims tbody tr:visible")
    assert rows.count() == 1
    assert view.locator("#shown").inner_text() == "1 of 2 claims"
    view.locator("#verdict").select_option("")
    view.locator("#search").fill("claim <1>")
    assert rows.count() == 1
    view.evaluate("location.hash = 'claim-author2000-1'")
    view.wait_for_selector("#claim-author2000-1 details[open]")


def test_a_figure_is_enlarged_zoomed_and_closed_with_the_keyboard(view: Any) -> None:
    view.locator("#fig-fig button.zoom").focus()
    view.keyboard.press("Enter")
    image = view.locator("#viewer img")
    image.wait_for()
    view.wait_for_function("document.querySelector('#viewer img').style.width !== ''")
    fitted = image.bounding_box()["width"]
    view.keyboard.press("+")
    assert image.bounding_box()["width"] == pytest.approx(1.25 * fitted, rel=0.02)
    view.keyboard.press("0")
    assert image.bounding_box()["width"] == pytest.approx(fitted, rel=0.02)
    view.keyboard.press("Escape")
    assert not view.locator("#viewer").is_visible()
    assert view.evaluate("document.activeElement.classList.contains('zoom')")


def test_a_wide_table_keeps_its_first_column_in_sight(view: Any) -> None:
    view.set_viewport_size({"width": 1280, "height": 800})
    region = view.locator(".scroll", has=view.locator("#tbl-wide"))
    first, second = (view.locator("#tbl-wide tbody td").nth(place) for place in (0, 1))
    before, moving = first.bounding_box()["x"], second.bounding_box()["x"]
    region.evaluate("region => { region.scrollLeft = 400; }")
    assert first.bounding_box()["x"] == pytest.approx(before, abs=2)
    assert second.bounding_box()["x"] == pytest.approx(moving - 400, abs=2)


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_width_makes_the_page_scroll_sideways(view: Any, width: int, tmp_path: Path) -> None:
    view.set_viewport_size({"width": width, "height": 800})
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    folder = Path(os.environ.get("REPRO_ARTEFACTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / f"page-{width}.png"
    view.screenshot(path=picture, full_page=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
