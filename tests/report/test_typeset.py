"""Tables as LaTeX and Markdown: the paper's own come back whole, and no label can break them."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.core.errors import UserError
from m1.report import typeset
from patience import PATIENCE
from score_files import PAPER
from shown import accuracy_row, save_shown

HOSTILE = [
    "\\input{/etc/passwd}\\end{table} & 100 % \\\\",
    "$x_1^2$ ~ #1 {unbalanced }} <script>alert(1)</script> </table> &amp;",
    "|a|b| `code` *bold* _em_ [link](http://x) ![i](x) ~~s~~",
    "line\nbreak\ttab\r\n| x | \x00\x07\x1b[31m",
    "\u202eright to left\u200f\ufeff zero\u200bwidth مرحبا 😀 naïve µ",
    "*[optional] --- ,, '' `` \"quoted\" ?` !`",
]
PRINTED = re.compile(r"""\\text[a-z]+\{\}|\\[#$%&_{}]|\{[*\[\]]\}|[-,]\{\}|[^\\{}#$%&_~^<>|"'`*\[\]]""")
"""What safe LaTeX is made of: commands without arguments, escaped or guarded characters, and characters that mean
themselves."""


def run(folder: Path, number: str, table: Path, bold: list[str] | None = None, note: str = "") -> tuple[str, str]:
    rows = tuple(accuracy_row(f"model {place}", label=label, bold=True) for place, label in enumerate(bold or []))
    arguments = [
        number,
        "--shown",
        save_shown(folder, table1=rows, note=note),
        "--table",
        table,
        "--benchmarks",
        PAPER / "benchmarks.csv",
        "--latex",
        folder / "t.tex",
        "--markdown",
        folder / "t.md",
    ]
    typeset.main(list(map(str, arguments)))
    return (folder / "t.tex").read_text(), (folder / "t.md").read_text()


def latex_rows(text: str) -> list[list[str]]:
    """Rows of the tabular, whose cells are between ampersands that are not escaped."""
    body = text[text.index("\\toprule") : text.index("\\bottomrule")]
    return [re.split(r"(?<!\\) & ", line.removesuffix(" \\\\")) for line in body.splitlines() if line.endswith("\\\\")]


def markdown_rows(text: str) -> list[list[str]]:
    return [re.split(r"(?<!\\) \| ", line[2:-2]) for line in text.splitlines() if line.startswith("| ")]


def balanced(text: str) -> bool:
    depth = 0
    for brace in re.findall(r"(?<!\\)(?:\\\\)*([{}])", text):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


@pytest.mark.parametrize("name", ["table1", "table2"])
def test_published_accuracies_are_all_there_in_the_papers_layout(tmp_path: Path, name: str) -> None:
    latex, markdown = run(tmp_path, name, PAPER / f"{name}.csv", bold=["m1-7B-1K"])
    paper = pd.read_csv(PAPER / f"{name}.csv", dtype=str)
    spans, heads, *rows = latex_rows(latex)
    assert spans[1:3] == [
        "\\multicolumn{3}{c}{In-distribution tests}",
        "\\multicolumn{7}{c}{Out-of-distribution tests}",
    ]
    assert "\\cmidrule(lr){2-4} \\cmidrule(lr){5-11}" in latex
    assert heads[1:] == list(paper.columns[2:])
    bare = [
        [re.sub(r"\\(cellcolor|textbf)\{(green!\d+\})?|\}", "", cell) for cell in row] for row in rows if len(row) > 1
    ]
    assert bare == paper.iloc[:, 1:].to_numpy().tolist()
    groups = [row[0] for row in rows if len(row) == 1]
    assert len(groups) == paper.iloc[:, 0].nunique() == latex.count("\\midrule") == 2
    head, _, *lines = markdown_rows(markdown)
    assert head[1:] == list(paper.columns[2:])
    assert [[cell.strip("*") for cell in line] for line in lines if line[1].strip()] == paper.iloc[
        :, 1:
    ].to_numpy().tolist()
    assert balanced(latex)


def test_own_models_are_bold_and_the_highest_of_a_column_in_its_group_is_deepest(tmp_path: Path) -> None:
    latex, markdown = run(tmp_path, "table1", PAPER / "table1.csv", bold=["m1-7B-1K", "m1-7B-23K", "m1-32B-1K"])
    assert set(re.findall(r"^\\textbf\{([^}]*)\}", latex, re.MULTILINE)) == {"m1-7B-1K", "m1-7B-23K", "m1-32B-1K"}
    assert "| **m1-7B-23K** | **62.54** | **75.81** |" in markdown
    assert "Our models are in bold." in markdown.splitlines()[0]
    assert "a deeper green means" in latex
    assert not re.search("green|shade|colour|colou?red", markdown, re.IGNORECASE), "Markdown has no colours"
    paper = pd.read_csv(PAPER / "table1.csv")
    cells = [row for row in latex_rows(latex) if re.search(r"\d\d\.\d\d", row[-1])]
    green = pd.DataFrame(
        [[int((re.findall(r"green!(\d+)", cell) or [0])[0]) for cell in row[1:]] for row in cells],
        columns=paper.columns[2:],
    )
    for group, rows in paper.groupby("group"):
        shades = green.loc[rows.index]
        for column in shades:
            assert shades[column].max() == typeset.DEEPEST == shades.loc[rows[column].idxmax(), column], group
            assert shades.loc[rows[column].idxmin(), column] == 0
            assert (shades[column].loc[rows[column].sort_values().index].diff().dropna() >= 0).all()


def test_missing_cells_are_dashes_and_equal_ones_have_no_shade(tmp_path: Path) -> None:
    table = pd.read_csv(PAPER / "table1.csv", dtype=str).head(2).assign(MedQA="missing", GPQA="50.00")
    table.loc[0, "Avg."] = "missing"
    table.to_csv(tmp_path / "t.csv", index=False)
    latex, markdown = run(tmp_path, "table1", tmp_path / "t.csv", note="A note & more.")
    rows = [row for row in latex_rows(latex) if row[0].startswith("MedLlama3")]
    assert [row[2] for row in rows] == ["--", "--"]
    assert [row[5] for row in rows] == ["50.00", "50.00"]
    assert rows[0][-1] == "--"
    assert "green" not in rows[1][-1]
    assert "missing" not in latex + markdown
    assert markdown.count("| – |") >= 2
    assert f"A note \\& more. {typeset.SHADING}}}" in latex
    assert "A note &amp; more." in markdown


def test_tables_3_and_4_have_the_papers_columns(tmp_path: Path) -> None:
    for name in ("table3", "table4"):
        paper = pd.read_csv(PAPER / f"{name}.csv", dtype=str)
        beside = paper.copy()
        for column in paper.columns[1:]:
            beside[f"{column} published"] = "9"
        beside.to_csv(tmp_path / "t.csv", index=False)
        latex, markdown = run(tmp_path, name, tmp_path / "t.csv")
        *heads, first = latex_rows(latex)[: 3 if name == "table4" else 2]
        assert len(latex_rows(latex)) == len(paper) + len(heads)
        assert [cell.replace("\\", "") for cell in first] == paper.iloc[0].tolist()
        assert markdown_rows(markdown)[0] == list(paper.columns)
        assert len(markdown_rows(markdown)) == len(paper) + 2
        assert balanced(latex)
    assert heads[0] == ["", "\\multicolumn{5}{c}{m23K}", "\\multicolumn{5}{c}{m1K}"]
    assert heads[1][1:6] == ["MedQA", "PubMedQA", "HeadQA", "MedMCQA", "Summation"]


@given(st.one_of(st.text(), st.sampled_from(HOSTILE), st.text(alphabet="\\{}$&#_%~^<>|[]*`'\"-,! \n")))
def test_any_text_is_printed_and_nothing_else(text: str) -> None:
    latex = typeset.latex_text(text)
    assert "".join(PRINTED.findall(latex)) == latex
    assert balanced(latex)
    assert "--" not in latex
    back = {value: key for key, value in typeset.LATEX.items()} | {"-{}": "-", ",{}": ","}
    shown = "".join(back.get(part, part) for part in PRINTED.findall(latex))
    codes = re.sub(r"[^\x00-\xff]", lambda found: f"[U+{ord(found[0]):04X}]", typeset.plain(text))
    assert shown == codes
    markdown = typeset.markdown_text(text)
    assert "\n" not in markdown
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]|~$]", markdown)
    assert not re.search(r"[<>]", markdown)


def hostile_table(folder: Path) -> Path:
    """Table 1 with a hostile text for every label and group."""
    table = pd.read_csv(PAPER / "table1.csv", dtype=str).head(2 * len(HOSTILE))
    table["model"] = HOSTILE * 2
    table["group"] = [f"group {HOSTILE[0]}"] * len(HOSTILE) + [HOSTILE[4]] * len(HOSTILE)
    table.to_csv(folder / "hostile.csv", index=False)
    return folder / "hostile.csv"


def test_hostile_labels_break_neither_table(tmp_path: Path) -> None:
    latex, markdown = run(tmp_path, "table1", hostile_table(tmp_path), bold=HOSTILE[:2], note=HOSTILE[1])
    assert balanced(latex)
    assert {len(row) for row in latex_rows(latex)} == {1, 4, 12}  # groups; spanning headings; headings and rows
    assert latex.count("\\end{table}") == latex.count("\\begin{table}") == 1
    assert {len(row) for row in markdown_rows(markdown)} == {12}
    markdown_it = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed: Markdown is not rendered")
    page = markdown_it.MarkdownIt("gfm-like", {"linkify": False}).render(markdown)
    assert page.count("<tr>") == 1 + 2 * len(HOSTILE) + 2
    assert "<script" not in page
    shown = re.findall(r"<td[^>]*>(?:<strong>)?(.*?)(?:</strong>)?</td>", page)
    assert typeset.plain(HOSTILE[2]) in shown
    assert "<em>em" not in page
    assert "<a " not in page
    assert "<img" not in page


def test_long_labels_are_kept(tmp_path: Path) -> None:
    table = pd.read_csv(PAPER / "table1.csv", dtype=str).head(1)
    table.loc[0, "model"] = "<&\\" * 33_333
    table.to_csv(tmp_path / "t.csv", index=False)
    latex, _ = run(tmp_path, "table1", tmp_path / "t.csv")
    assert latex.count("\\textbackslash{}") == 33_333
    assert balanced(latex)


@pytest.mark.skipif(
    not shutil.which("pdflatex"), reason="pdflatex is not installed: LaTeX is not compiled, only checked for balance"
)
def test_latex_compiles(tmp_path: Path) -> None:
    packages = "".join(
        f"\\usepackage{part}\n" for part in ("[T1]{fontenc}", "{booktabs}", "{graphicx}", "[table]{xcolor}")
    )
    body = run(tmp_path, "table1", hostile_table(tmp_path), bold=HOSTILE[:2], note=HOSTILE[1])[0]
    body += "".join(run(tmp_path, f"table{number}", PAPER / f"table{number}.csv")[0] for number in (1, 2, 3, 4))
    (tmp_path / "all.tex").write_text(
        f"\\documentclass{{article}}\n{packages}\\begin{{document}}\n{body}\\end{{document}}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"],
        cwd=tmp_path,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout[-2000:].decode(errors="replace")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone.csv: no such file"):
        run(tmp_path, "table1", tmp_path / "gone.csv")


@pytest.mark.parametrize("name", ["table1", "table2"])
def test_only_latex_which_has_shades_speaks_of_them(tmp_path: Path, name: str) -> None:
    latex, markdown = run(tmp_path, name, PAPER / f"{name}.csv")
    assert "a deeper green means a higher accuracy." in latex
    assert "green" not in markdown.lower()
