"""The paper compiles to the same bytes, prints no number of its own, and refuses a sentence that no longer holds."""

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from repro import tables
from repro.report import paper

pytest.importorskip("typst")
SOURCES = Path(__file__).resolve().parent.parent / "paper"
CHECK = {
    "label": "NN Adam ratio",
    "text": "NN Adam ratio: 2 [1, 3] n=4 published 5",
    "outcome": "holds",
    "unit": "s",
    "published": "5",
    "estimate": "2",
    "interval": "[1, 3]",
    "n": 4,
    "scale": "reduced",
    "diverged": 1,
    "missed": 0,
}
CLAIM = {
    "study": "author2000",
    "number": 1,
    "text": "it is so",
    "where": "Fig. 1",
    "verdict": "reproduced",
    "label": "reproduced",
    "reason": "",
    "checks": [CHECK, {**CHECK, "label": "CNN Adam ratio"}],
}
FACTS: dict[str, Any] = {
    "studies": {"author2000": {}},
    "claims": {"author2000/1": CLAIM},
    "figures": [],
    "tables": [],
}


def compiled(
    folder: Path, text: str, facts: dict[str, Any] = FACTS
) -> tuple[bytes | None, tuple[str, ...]]:
    build = folder / "paper" / "build"
    build.mkdir(parents=True, exist_ok=True)
    shutil.copy(SOURCES / "checked.typ", folder / "paper")
    (build / "paper.json").write_text(json.dumps(facts))
    (folder / "paper" / "paper.typ").write_text(f'#import "checked.typ": *\n{text}\n')
    return paper.compile_pdf(folder)


def texts(folder: Path, text: str, facts: dict[str, Any] = FACTS) -> str:
    """Return what a piece of source shows."""
    typst = pytest.importorskip("typst")
    compiled(folder, f"#metadata(plain[{text}]) <shown>", facts)
    source = folder / "paper" / "paper.typ"
    (shown,) = json.loads(typst.query(source, "<shown>", field="value", root=folder))
    return str(shown)


def test_a_sentence_whose_verdict_holds_is_printed(tmp_path: Path) -> None:
    content, stale = compiled(tmp_path, '#holds(("author2000", 1, "reproduced"))[It is so.]')
    assert content is not None
    assert content.startswith(b"%PDF")
    assert stale == ()


def test_a_sentence_whose_verdict_changed_is_named_with_both_and_the_mend(tmp_path: Path) -> None:
    text = '#holds(("author2000", 1, "not reproduced"))[It is _not_ so, by far.]'
    content, (line,) = compiled(tmp_path, text)
    assert content is None
    assert line == (
        "“It is not so, by far.”: author2000 claim 1 is reproduced now, and it was written for not reproduced. Rewrite the "
        "sentence in paper/, and name the verdict it then rests on."
    )


def test_an_answer_is_printed_with_its_claims_and_named_where_a_ground_turned(
    tmp_path: Path,
) -> None:
    one = {
        "question": "Is it so?",
        "text": "It is.",
        "claims": [["author2000", 1], ["author2000", 2]],
        "stale": [],
    }
    shown = "#for one in facts.answers { answer(one) }"
    assert texts(tmp_path, shown, {**FACTS, "answers": [one]}).startswith(
        "Is it so? It is. [A1, A2]"
    )
    ground = {"study": "author2000", "number": 1, "label": "NN Adam", "found": "", "written": "x"}
    _, (line,) = compiled(tmp_path, shown, {**FACTS, "answers": [{**one, "stale": [ground]}]})
    assert line.startswith("“It is.”: author2000 claim 1 (NN Adam): holds now, and it was")


def test_every_stale_sentence_is_named_at_once(tmp_path: Path) -> None:
    text = '#holds(("author2000", 1, "partly"))[One.] #holds(("author2000", 1, "NN Adam", "fails"))[Two.]'
    _, stale = compiled(tmp_path, text)
    assert [line[:7] for line in stale] == ["“One.”:", "“Two.”:"]
    assert "claim 1 (NN Adam): holds now, and it was written for fails" in stale[1]


def test_of_several_sentences_the_one_that_fits_is_printed(tmp_path: Path) -> None:
    text = '#cases(("author2000", 1), reproduced: [So.], not-reproduced: [Not so.])'
    assert texts(tmp_path, text).startswith("So.")
    other = copy.deepcopy(FACTS)
    other["claims"]["author2000/1"] |= dict.fromkeys(("verdict", "label"), "not reproduced")
    assert texts(tmp_path, text, other).startswith("Not so.")
    other["claims"]["author2000/1"]["verdict"] = "partly"
    _, (line,) = compiled(tmp_path, text, other)
    assert "is partly now, and it was written for reproduced or not reproduced" in line


def test_a_claim_that_is_not_there_yet_is_not_tested(tmp_path: Path) -> None:
    assert texts(tmp_path, '#cases(("nobody1999", 3), not-tested: [Open.])').startswith("Open.")
    assert texts(tmp_path, '#measured("nobody1999", 3, "x")') == "not run"
    assert texts(tmp_path, '#claim-line("nobody1999", 3)') == "N3: not run."


def test_a_number_comes_with_interval_n_scale_and_divergence(tmp_path: Path) -> None:
    text = '#measured("author2000", 1, "NN Adam") #published("author2000", 1, "CNN Adam")'
    assert texts(tmp_path, text) == "2 s [1, 3] (n = 4, 1 diverged, reduced scale) 5"


def test_a_label_that_fits_several_measurements_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"does not compile: .*label contains 'Adam', found 2 of: NN"
    ):
        compiled(tmp_path, '#measured("author2000", 1, "Adam")')


def test_a_figure_that_was_not_built_says_so_in_place(tmp_path: Path) -> None:
    content, stale = compiled(tmp_path, '#show-figure("nothing") See @fig-nothing.')
    assert (content is not None, stale) == (True, ())


def test_a_long_table_of_the_appendix_breaks_and_loses_no_row(tmp_path: Path) -> None:
    typst = pytest.importorskip("typst")
    source = (SOURCES / "paper.typ").read_text(encoding="utf-8")
    rules = "\n".join(line for line in source.splitlines() if line.startswith("#show figure"))
    long = tables.Table(
        "long", "A long one", (tables.Column("number", "Number"),), tuple((i,) for i in range(200))
    )
    tables.write(long, tmp_path / "paper" / "build" / "tables")
    listed = {**FACTS, "tables": [{"name": "long", "title": "A long one"}]}
    shown = '#show-table("long", placement: none) <all>'
    # a row that finds no room on a page would lie on the one before it
    places = (
        "#show table.cell: it => [#it#context [#metadata(here().position()) <cell>]]\n"
        '#set page(paper: "a4")\n'
    )
    compiled(tmp_path, places + rules + "\n" + shown, listed)
    path = tmp_path / "paper" / "paper.typ"
    found = json.loads(typst.query(path, "<cell>", field="value", root=tmp_path))
    rows = {(cell["page"], cell["y"]) for cell in found}
    assert len(rows) == len(found) >= 200
    assert max(cell["page"] for cell in found) > 1
    # every table that no page can be trusted to hold stands where it may break
    assert "show-table(one.name, size: 6pt, placement: none)" in source


def test_two_compilations_are_the_same_bytes(tmp_path: Path) -> None:
    text = (
        '#set document(title: "x", date: none)\n#holds(("author2000", 1, "reproduced"))[It is so.]'
    )
    assert compiled(tmp_path / "a", text) == compiled(tmp_path / "b", text)


@pytest.mark.parametrize(
    "path", [*sorted(SOURCES.glob("*.typ")), SOURCES / "answers.toml"], ids=lambda path: path.name
)
def test_no_measured_number_is_typed(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    source = re.sub(r"^//.*$", "", source, flags=re.MULTILINE)
    source = re.sub(r"^#(set|show).*$", "", source, flags=re.MULTILINE)
    source = re.sub(r"arXiv:\d+\.\d+|[\d.]+(pt|em|mm|cm)\b|heading\(numbering[^)]*\)", "", source)
    source = re.sub(r'numbering: "[^"]*"', "", source)
    assert re.findall(r"(?<![\w.])\d+\.\d+", source) == []


def test_every_sentence_that_compares_names_its_claims() -> None:
    """Words that assert a result stand only where a verdict is named, or in what the papers are said to claim."""
    source = (SOURCES / "paper.typ").read_text(encoding="utf-8")
    results = source[source.index("= Results") : source.index("= Is it fair?")]
    bare = _without_calls(re.sub(r"^//.*$", "", results, flags=re.MULTILINE))
    words = r"\b(faster|slower|cheaper|ahead|behind|better|worse|reproduced|beats|helps|hurts|diverges)\b"
    assert re.findall(words, bare) == []


def _without_calls(source: str) -> str:
    """Leave out every `#holds(...)[...]` and `#cases(...)`."""
    kept, index = [], 0
    while (found := re.compile(r"#(holds|cases)\(").search(source, index)) is not None:
        kept.append(source[index : found.start()])
        index = _closed(source, found.end() - 1)
        if found.group(1) == "holds":
            assert source[index] == "["
            index = _closed(source, index)
    return "".join([*kept, source[index:]])


def _closed(source: str, start: int) -> int:
    pairs, depth = {"(": 1, "[": 1, ")": -1, "]": -1}, 0
    for index in range(start, len(source)):
        depth += pairs.get(source[index], 0)
        if depth == 0:
            return index + 1
    raise AssertionError("a bracket is not closed")
