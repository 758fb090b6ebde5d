"""`repro.tables`: exact text in five formats, and every character survives each of them."""

import csv
import io
import json
import math
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro.stats import Interval
from repro.tables import (
    Cell,
    Column,
    Table,
    cell_text,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
    to_typst,
    write,
)

ACCURACY = Interval(91.5, 90.25, 92.75, 6, 0.95)
TABLE = Table(
    name="tab-1",
    title="Accuracy & cost",
    columns=(
        Column("method", "Method", "left"),
        Column("accuracy", "Accuracy (%)", format=".2f"),
        Column("learning_rate", "η", "center", format=lambda x: f"{x:g}"),
        Column("num_tangents", "k ≤ 16"),
    ),
    rows=(
        ("Baydin et al.", ACCURACY, 0.1, -4),
        ("ours, ‖v‖ = 1", None, math.nan, 16),
    ),
    notes=("95 % paired t.", "Second note."),
)

# Every ASCII character that prints, what each target reads as markup, and signs beyond ASCII.
NASTY = (
    "".join(map(chr, range(32, 127))).strip(),
    r"a|b_c & 50% $x$ #1 {y} ~^\ <t> [z] `code`",
    "[start] *bold* _emphasis_ __strong__ ~~struck~~ \\",
    "* item",
    r"\textbf{x} \\ \"quoted\" 'single' -- --- ... ?` !`",
    "// comment /* comment */ https://example.org @ref #pagebreak()",
    "![image](x) [link](y) [text][ref] <b>bold</b> <!-- gone --> &amp; &#65; a < b && c",
    "= heading",
    "η ‖v‖ ≤ 10⁻³ × − ± é ø ∇f·v → ∞ 中",  # noqa: RUF001
)


def column(**settings: Any) -> Column:
    return Column(**{"name": "x", "header": "X", **settings})


def one_cell(cell: Cell, **settings: Any) -> Table:
    return Table("t", "T", (column(**settings),), ((cell,),))


def nasty_table() -> Table:
    columns = (Column("a", NASTY[0], "left"), Column("b", NASTY[1]))
    rows = tuple((text, text[::-1]) for text in NASTY)
    return Table("nasty", NASTY[1], columns, rows, NASTY)


# What a cell reads as


@pytest.mark.parametrize(
    ("cell", "spec", "expected"),
    [
        (None, ".2f", "not run"),
        ("as it is -1", ".2f", "as it is -1"),
        (math.nan, ".2f", "n/a"),
        (math.inf, ".2f", "∞"),
        (-math.inf, ".2f", "−∞"),  # noqa: RUF001
        (0.125, "", "0.125"),
        (-0.125, ".2f", "−0.12"),  # noqa: RUF001
        (1e-05, ".0e", "1e−05"),  # noqa: RUF001
        (3, "", "3"),
        (1234567, ",d", "1,234,567"),
        (ACCURACY, ".1f", "91.5 [90.2, 92.8], n=6"),
        (Interval(-1.0, -math.inf, math.inf, 1, 0.95), ".1f", "−1.0, n=1"),  # noqa: RUF001
        (Interval(math.nan, -math.inf, math.inf, 6, 0.95), ".1f", "n/a, n=6"),
        (Interval(1.0, -math.inf, 2.0, 2, 0.95), ".1f", "1.0 [−∞, 2.0], n=2"),  # noqa: RUF001
    ],
)
def test_cell_text(cell: Cell, spec: str, expected: str) -> None:
    assert cell_text(column(format=spec), cell) == expected


def test_a_format_function_sees_finite_numbers_only() -> None:
    seconds = column(format=lambda x: f"{x / 60:.1f} min")
    texts = [cell_text(seconds, cell) for cell in (90.0, math.nan, math.inf, None)]
    assert texts == ["1.5 min", "n/a", "∞", "not run"]
    interval = Interval(90.0, 60.0, 120.0, 3, 0.95)
    assert cell_text(seconds, interval) == "1.5 min [1.0 min, 2.0 min], n=3"


# Snapshots


def test_csv_snapshot() -> None:
    assert to_csv(TABLE) == (
        "method,accuracy,accuracy_low,accuracy_high,accuracy_num,learning_rate,num_tangents\n"
        "Baydin et al.,91.5,90.25,92.75,6,0.1,-4\n"
        '"ours, ‖v‖ = 1",,,,,nan,16\n'
    )


def test_markdown_snapshot() -> None:
    assert to_markdown(TABLE) == (
        "**Accuracy & cost**\n"
        "\n"
        "| Method        |              Accuracy (%) |  η  | k ≤ 16 |\n"
        "| :------------ | ------------------------: | :-: | -----: |\n"
        "| Baydin et al. | 91.50 [90.25, 92.75], n=6 | 0.1 |     −4 |\n"  # noqa: RUF001
        "| ours, ‖v‖ = 1 |                   not run | n/a |     16 |\n"
        "\n"
        "95 % paired t.\n"
        "\n"
        "Second note.\n"
    )


def test_latex_snapshot() -> None:
    assert (
        to_latex(TABLE)
        == r"""\begin{table}
\centering
\caption{Accuracy \& cost}
\label{tab:tab-1}
\begin{tabular}{lrcr}
\toprule
Method & Accuracy (\%) & $\eta$ & k $\le$ 16 \\
\midrule
Baydin et al. & 91.50 [90.25, 92.75], n=6 & 0.1 & $-$4 \\
ours, $\|$v$\|$ = 1 & not run & n/a & 16 \\
\bottomrule
\end{tabular}
\par\smallskip{\footnotesize 95 \% paired t.\par}
\par\smallskip{\footnotesize Second note.\par}
\end{table}
"""
    )


def test_typst_snapshot_with_notes() -> None:
    assert (
        to_typst(TABLE)
        == """#figure(
  [
    #table(
      columns: 4,
      align: (left, right, center, right,),
      stroke: none,
      table.hline(),
      table.header("Method", "Accuracy (%)", "η", "k ≤ 16"),
      table.hline(stroke: 0.5pt),
      "Baydin et al.", "91.50 [90.25, 92.75], n=6", "0.1", "−4",
      "ours, ‖v‖ = 1", "not run", "n/a", "16",
      table.hline(),
    )
    #align(left)[
      #text("95 % paired t.") \\
      #text("Second note.")
    ]
  ],
  caption: "Accuracy & cost",
  kind: table,
) <tbl-tab-1>
"""  # noqa: RUF001
    )


def test_typst_snapshot_without_notes() -> None:
    assert (
        to_typst(one_cell('say "a\\b"'))
        == r"""#figure(
  table(
    columns: 1,
    align: (right,),
    stroke: none,
    table.hline(),
    table.header("X"),
    table.hline(stroke: 0.5pt),
    "say \"a\\b\"",
    table.hline(),
  ),
  caption: "T",
  kind: table,
) <tbl-t>
"""
    )


def test_a_table_without_rows_or_title_is_a_header() -> None:
    table = Table("t", "", (column(), column(name="y", header="Y", align="left")), ())
    assert to_csv(table) == "x,y\n"
    assert to_markdown(table) == "|   X | Y   |\n| --: | :-- |\n"
    assert "\\midrule\n\\bottomrule\n" in to_latex(table)
    assert 'table.header("X", "Y")' in to_typst(table)


# CSV is the source of truth


def test_csv_gives_back_every_float_and_text() -> None:
    floats = [0.1 + 0.2, 1 / 3, 1e-300, -0.0, 5e-324, 1.7976931348623157e308, np.float64(0.1)]
    columns = (Column("text", "Text"), Column("number", "Number", format=".1f"))
    texts = [*NASTY[:6], ""]
    rows = tuple(zip(texts, floats, strict=True))
    header, *back = csv.reader(io.StringIO(to_csv(Table("t", "T", columns, rows)), newline=""))
    assert header == ["text", "number"]
    assert [row[0] for row in back] == texts
    assert [float(row[1]).hex() for row in back] == [float(x).hex() for x in floats]


def test_csv_has_interval_columns_where_nothing_was_run() -> None:
    header = "x,x_low,x_high,x_num\n"
    assert to_csv(one_cell(None, interval=True)) == header + ",,,\n"
    assert to_csv(one_cell(0.5, interval=True)) == header + "0.5,,,\n"
    assert to_csv(one_cell("diverged", interval=True)) == header + "diverged,,,\n"
    assert to_csv(one_cell(Interval(1, 0, 2, 3, 0.95))) == header + "1.0,0.0,2.0,3\n"


# Escapes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("& % $ # _ { }", r"\& \% \$ \# \_ \{ \}"),
        ("a~b^c\\d", r"a\textasciitilde{}b\textasciicircum{}c\textbackslash{}d"),
        ("<p|q>`", r"\textless{}p\textbar{}q\textgreater{}\textasciigrave{}"),
        ("a - b -- c --- d", "a - b -{}- c -{}-{}- d"),
        ("[0, 1]", "{}[0, 1]"),  # else `\\` of the row before takes it as its argument
        ("*", "{}*"),
        ("a [0, 1]*", "a [0, 1]*"),
        ("η ≤ 2 × 10⁻³", r"$\eta$ $\le$ 2 $\times$ 10$^{-}$$^{3}$"),  # noqa: RUF001
        ("é ø – —", "é ø – —"),  # noqa: RUF001
    ],
)
def test_latex_escapes(text: str, expected: str) -> None:
    assert f"\n{expected} \\\\\n" in to_latex(one_cell(text))


def test_latex_structure_survives_every_character() -> None:
    bare = re.sub(r"\\[&%$#_{}\\]", "", to_latex(nasty_table()))  # without escaped characters
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert bare.count("&") == 1 + len(NASTY)
    assert bare.count("$") % 2 == 0
    assert not re.search(r"[%#~`]", bare)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("learning_rate _x_", r"learning_rate \_x\_"),
        ("p < 0.05 & <b> &lt;", r"p < 0.05 & \<b> \&lt;"),
        ("$5 * ~2 `c` \\", r"\$5 \* \~2 \`c\` \\"),
        ("0.5 [0.4, 0.6], [a](b)", r"0.5 [0.4, 0.6], [a]\(b)"),
    ],
)
def test_markdown_escapes(text: str, expected: str) -> None:
    assert f"\n| {expected} |\n" in to_markdown(one_cell(text))


def test_markdown_parser_gives_back_every_text() -> None:
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark")
    tokens = parser.enable(["table", "strikethrough"]).parse(to_markdown(nasty_table()))
    inline = [token for token in tokens if token.type == "inline"]
    kinds = {child.type for token in inline[1:] for child in token.children}
    assert kinds <= {"text", "text_special"}
    texts = ["".join(child.content for child in token.children) for token in inline]
    cells = [text for row in NASTY for text in (row, row[::-1])]
    assert texts == [NASTY[1], *NASTY[:2], *cells, *NASTY]


def typst_texts(node: Any) -> list[str]:
    """List the texts of a queried Typst element, in document order."""
    if isinstance(node, list):
        return [text for child in node for text in typst_texts(child)]
    if not isinstance(node, dict):
        return []
    if node.get("func") == "text" and "text" in node:
        return [node["text"]]
    return [text for key in ("children", "child", "body") for text in typst_texts(node.get(key))]


def test_typst_compiles_and_gives_back_every_text() -> None:
    typst = pytest.importorskip("typst")
    source = (to_typst(nasty_table()) + "\nSee @tbl-nasty.\n").encode()
    assert typst.compile(source, ignore_system_fonts=True, timestamp=0).startswith(b"%PDF")
    [figure] = json.loads(typst.query(source, "<tbl-nasty>", ignore_system_fonts=True))
    cells = [text for row in NASTY for text in (row, row[::-1])]
    assert typst_texts(figure["body"]) == [*NASTY[:2], *cells, *NASTY]
    assert typst_texts(figure["caption"]["body"]) == [NASTY[1]]
    assert figure["kind"] == "table"


class _Cells(HTMLParser):
    """Collects the texts of a table's caption, cells and notes, and the values beside the cells."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.values: list[str | None] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag in ("caption", "th", "td", "p")
        if self.inside:
            self.texts.append("")
        if tag == "td":
            self.values.append(dict(attrs).get("data-value"))

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts[-1] += data


def test_html_gives_back_every_text() -> None:
    parser = _Cells()
    parser.feed(to_html(nasty_table()))
    cells = [text for row in NASTY for text in (row, row[::-1])]
    assert parser.texts == [NASTY[1], *NASTY[:2], *cells, *NASTY]


def test_html_holds_the_numbers_to_sort_by() -> None:
    parser = _Cells()
    parser.feed(to_html(TABLE))
    assert parser.values == [None, "91.5", "0.1", "-4", None, None, "nan", "16"]


# Files


def test_write_is_the_five_texts_in_utf8(tmp_path: Path) -> None:
    paths = write(TABLE, tmp_path / "new" / "folder")
    suffixes = ("csv", "md", "tex", "typ", "html")
    assert [path.name for path in paths] == [f"tab-1.{suffix}" for suffix in suffixes]
    texts = [to(TABLE) for to in (to_csv, to_markdown, to_latex, to_typst, to_html)]
    assert [path.read_bytes() for path in paths] == [text.encode() for text in texts]
    assert all(text.endswith("\n") and "\r" not in text for text in texts)
    assert write(TABLE, str(tmp_path / "new" / "folder")) == paths
    assert sorted((tmp_path / "new" / "folder").iterdir()) == sorted(paths)


def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(one_cell(1), tmp_path)

    def interrupted(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(one_cell(2), tmp_path)
    assert (tmp_path / "t.csv").read_text() == "x\n1\n"
    assert len(list(tmp_path.iterdir())) == 5


def test_a_format_that_fails_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Column x: `format` must suit its numbers, found 'd' for"):
        write(one_cell(0.5, format="d"), tmp_path)
    assert not list(tmp_path.iterdir())


# What is refused


@pytest.mark.parametrize("name", ["", "a b", "../a", "-a", "a.b", "é"])
def test_a_name_is_a_file_name_and_a_label(name: str) -> None:
    with pytest.raises(ValueError, match=f"letters, digits, '-' and '_', found '{name}'; it bec"):
        Table(name, "T", (column(),), ())


def test_a_table_has_columns() -> None:
    with pytest.raises(ValueError, match="Table t must have a column, found none; add a Column"):
        Table("t", "T", (), ())


def test_an_alignment_is_one_of_three() -> None:
    with pytest.raises(ValueError, match="one of left, right, center, found 'centre'; choose one"):
        one_cell(1, align="centre")


@pytest.mark.parametrize("row", [(), (1, 2)])
def test_a_row_has_one_cell_a_column(row: tuple[Cell, ...]) -> None:
    with pytest.raises(ValueError, match=f"1 cells a row, found {len(row)} in row 1; write None"):
        Table("t", "T", (column(),), ((1,), row))


def test_csv_columns_are_distinct() -> None:
    with pytest.raises(ValueError, match="distinct, non-empty CSV columns, found 'x' 2 times; ren"):
        Table("t", "T", (column(), column(header="Y")), ())
    with pytest.raises(ValueError, match="non-empty CSV columns, found '' 1 times"):
        Table("t", "T", (column(name=""),), ())
    with pytest.raises(ValueError, match="found 'x_low' 2 times"):
        Table("t", "T", (column(), column(name="x_low")), ((ACCURACY, 1),))


@pytest.mark.parametrize("cell", [True, np.int64(1), [1], b"x", 1j, object])
def test_cells_are_of_five_types(cell: Any) -> None:
    message = r"row 0, column x: a cell must be None, str, int, float or Interval, found .*; conv"
    with pytest.raises(ValueError, match=message):
        one_cell(cell)


@pytest.mark.parametrize("break_", ["\n", "\r", "\t", "\x00", "\x7f", "\x85", "\u2028"])
def test_texts_are_one_line(break_: str) -> None:
    text = f"a{break_}b"
    message = "{}: text must be one line without control characters, found 'a.*b'; replace them"
    with pytest.raises(ValueError, match=message.format("row 0, column x")):
        one_cell(text)
    with pytest.raises(ValueError, match=message.format("title")):
        Table("t", text, (column(),), ())
    with pytest.raises(ValueError, match=message.format("note 1")):
        Table("t", "T", (column(),), (), ("fine", text))
    with pytest.raises(ValueError, match=message.format("header of column 'x'")):
        Table("t", "T", (column(header=text),), ())


def test_stats_and_tables_load_no_torch() -> None:
    code = "import sys, repro.stats, repro.tables; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, env=environment)
