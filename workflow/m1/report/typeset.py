"""Tables 1 to 4 as LaTeX (booktabs) and Markdown, in the paper's layout, from the CSVs of :mod:`m1.report.tables`.

Tables 1 and 2 have their rows in groups. Within a group, the LaTeX table shades each column green, deeper for higher
accuracy, as the caption of the paper's Table 1 says. Tables 3 and 4 show only this run's counts; the CSVs also have the
published ones.
"""

import html
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pandas as pd

from m1.core.errors import run
from m1.core.files import write_text
from m1.core.progress import say
from m1.report.files import parser, read_csv
from m1.report.settings import Shown
from m1.report.tables import BUDGET, MISSING

CAPTIONS = {
    "table1": "Accuracy (%) on each benchmark. Our models are in bold.",
    "table2": "Data filtering: accuracy (%) after training on each subset.",
    "table3": "Questions of each training pool after each step of the curation.",
    "table4": "Questions of each domain and training pool in the training subsets.",
}
SHADING = "Within each group of rows, a deeper green means a higher accuracy."  # not in Markdown, which has no colours
DEEPEST = 40  # % of green behind the highest accuracy; black text on it is still easy to read
WIDE = 9  # a table with as many columns or more is scaled to the width of the text
TALL = 40  # a table with more rows is set in the smallest type, so that it fits on a page
PREAMBLE = (
    "% needs \\usepackage[T1]{fontenc}, \\usepackage{booktabs}, \\usepackage{graphicx} and \\usepackage[table]{xcolor}"
)
NAMED = {"\\": "backslash", "~": "asciitilde", "^": "asciicircum", "<": "less", ">": "greater", "|": "bar"}
NAMED |= {"`": "asciigrave", "'": "quotesingle", '"': "quotedbl"}
LATEX = {
    **{character: f"\\{character}" for character in "#$%&_{}"},
    **{character: f"\\text{name}{{}}" for character, name in NAMED.items()},
    **{character: f"{{{character}}}" for character in "[]*"},  # without braces, a line end takes [ or * as its option
}
DASH = "–"


@dataclass(frozen=True)
class Row:
    """A row of a table."""

    name: str
    cells: list[str]
    bold: bool
    shades: list[int]  # % of green; 0 for none


@dataclass(frozen=True)
class Layout:
    """A table in the paper's layout."""

    number: str
    caption: str
    first: str  # heading of the first column
    spans: list[str]  # heading above each of the others; empty for none
    columns: list[str]  # their own headings
    groups: dict[str, list[Row]]  # name of the group, empty for none, to its rows

    @property
    def rows(self) -> list[Row]:
        """The rows of all groups, in order."""
        return [row for rows in self.groups.values() for row in rows]

    @property
    def shading(self) -> str:
        """The sentence that says what the green means; empty where nothing is shaded."""
        return SHADING if any(any(row.shades) for row in self.rows) else ""


def accuracy_layout(
    table: pd.DataFrame, kinds: Mapping[str, str], bold: Sequence[str]
) -> tuple[list[str], dict[str, list[Row]]]:
    """Spanning headings and rows of Table 1 or 2.

    ``table`` has, as text, group, name, an accuracy or ``missing`` per benchmark, Avg.; ``kinds`` has the kind of a
    benchmark by its heading (in or out of the distribution that models were trained on); ``bold`` has names of rows.
    """
    group, name = table.columns[:2]
    columns = list(table.columns[2:])
    groups = {}
    for title, rows in table.groupby(group, sort=False):
        shades = rows[columns].apply(lambda column: shade(pd.to_numeric(column, errors="coerce")))
        cells = zip(rows[name], rows[columns].to_numpy().tolist(), shades.to_numpy().tolist())
        groups[str(title)] = [Row(label, values, label in bold, greens) for label, values, greens in cells]
    spans = [f"{kinds[column][:1].upper()}{kinds[column][1:]} tests" if column in kinds else "" for column in columns]
    return spans, groups


def shade(accuracy: pd.Series) -> pd.Series:
    """% of green of each accuracy, from 0 at the lowest to :data:`DEEPEST` at the highest; 0 where all are equal."""
    low, high = accuracy.min(), accuracy.max()
    if not low < high:
        return pd.Series(0, index=accuracy.index)
    return (DEEPEST * (accuracy - low) / (high - low)).fillna(0).round().astype(int)


def layout(number: str, table: pd.DataFrame, benchmarks: str | Path, shown: Shown) -> Layout:
    """A table in the paper's layout: ``number`` is a key of :data:`CAPTIONS`, ``table`` its CSV with every cell as
    text, and ``benchmarks`` the file ``resources/paper/benchmarks.csv``."""
    budgets = [budget for budget in table.get(BUDGET, pd.Series()).drop_duplicates() if budget]
    thinking = f"Thinking budget (tokens): {', '.join(budgets)}." if budgets else ""
    table = table.drop(columns=BUDGET, errors="ignore")
    caption = " ".join(filter(None, [CAPTIONS[number], thinking, shown.note]))
    if number in ("table1", "table2"):
        known = read_csv(benchmarks, ["column", "kind"])
        bold = [row.label for row in shown.accuracy_tables.get(number, ()) if row.bold]
        spans, groups = accuracy_layout(table, dict(zip(known["column"], known["kind"])), bold)
        first, columns = table.columns[1], list(table.columns[2:])
        return Layout(number, caption, first[:1].upper() + first[1:], spans, columns, groups)
    own = [column for column in table.columns[1:] if not column.endswith(" published")]
    spans = [column.partition(" ")[0] if number == "table4" else "" for column in own]
    columns = [column.partition(" ")[2] if number == "table4" else column for column in own]
    first = table.columns[0]
    cells = zip(table[first], table[own].to_numpy().tolist())
    rows = [Row(name, values, False, [0] * len(own)) for name, values in cells]
    return Layout(number, caption, first, spans, columns, {"": rows})


def plain(text: str) -> str:
    """Text on one line, without control characters, invisible characters and marks that change its direction."""
    spaced = " ".join(text.split())
    return "".join(character for character in spaced if not unicodedata.category(character).startswith("C"))


def latex_text(text: str) -> str:
    """LaTeX that prints any text; a character beyond Latin 1, which a Latin font lacks, becomes its code point."""
    printed = "".join(LATEX.get(c, c if c < "\u0100" else f"{{[}}U+{ord(c):04X}{{]}}") for c in plain(text))
    return re.sub(r"([-,])(?=\1)", r"\1{}", printed)  # two of them would become a dash, or a quotation mark


def markdown_text(text: str) -> str:
    """Any text as Markdown that shows it, also in a cell of a table."""
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", html.escape(plain(text), quote=False))


def _cell(text: str) -> str:
    return "" if text in ("", MISSING) else text


def latex(table: Layout) -> str:
    """The table as a LaTeX float."""
    width = len(table.columns)
    rows = len(table.rows)
    caption = " ".join(filter(None, [table.caption, table.shading]))
    size = "\\tiny" if rows > TALL else "\\small"
    scaled = width >= WIDE and rows <= TALL
    lines = [PREAMBLE, "\\begin{table}", "\\centering", f"\\caption{{{latex_text(caption)}}}", size]
    lines += ["\\resizebox{\\textwidth}{!}{%"] if scaled else []
    lines += [f"\\begin{{tabular}}{{l*{{{width}}}{{r}}}}", "\\toprule"]
    if any(table.spans):
        heads, rules, place = [], [], 2
        for span, run_of in groupby(table.spans):
            count = len(list(run_of))
            heads.append(f"\\multicolumn{{{count}}}{{c}}{{{latex_text(span)}}}")
            rules += [f"\\cmidrule(lr){{{place}-{place + count - 1}}}"] if span else []
            place += count
        lines += [" & ".join(["", *heads]) + " \\\\", " ".join(rules)]
    lines.append(" & ".join(map(latex_text, [table.first, *table.columns])) + " \\\\")
    for group, members in table.groups.items():
        lines.append("\\midrule")
        lines += [f"\\multicolumn{{{width + 1}}}{{l}}{{\\textit{{{latex_text(group)}}}}} \\\\"] if group else []
        for row in members:
            cells = [f"\\textbf{{{latex_text(row.name)}}}" if row.bold else latex_text(row.name)]
            for value, green in zip(row.cells, row.shades, strict=True):
                shown = latex_text(_cell(value)) or "--"
                shown = f"\\textbf{{{shown}}}" if row.bold else shown
                cells.append(f"\\cellcolor{{green!{green}}}{shown}" if green else shown)
            lines.append(" & ".join(cells) + " \\\\")
    lines += ["\\bottomrule", "\\end{tabular}" + ("}" if scaled else ""), "\\end{table}"]
    return "\n".join(lines) + "\n"


def markdown(table: Layout) -> str:
    """The table as Markdown, which has no shades; each column of Table 4 repeats its spanning heading."""
    joined = table.number == "table4"
    columns = [f"{span} {column}" if joined else column for span, column in zip(table.spans, table.columns)]
    lines = [f"**Table {table.number.removeprefix('table')}.** {markdown_text(table.caption)}", ""]
    lines.append(_line(map(markdown_text, [table.first, *columns])))
    lines.append(_line([":--", *["--:"] * len(columns)]))
    for group, members in table.groups.items():
        lines += [_line([f"*{markdown_text(group)}*", *[""] * len(columns)])] if group else []
        for row in members:
            cells = [markdown_text(row.name), *(markdown_text(_cell(value)) or DASH for value in row.cells)]
            lines.append(_line(f"**{cell}**" if row.bold else cell for cell in cells))
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(argv: Sequence[str] | None = None) -> None:
    """Typeset one table."""
    command = parser(
        __doc__,
        "shown",
        table="CSV from m1.report.tables",
        benchmarks="resources/paper/benchmarks.csv: headings and kinds",
        latex="file to write: .tex, to be \\input",
        markdown="file to write: .md",
    )
    command.add_argument("number", choices=CAPTIONS)
    options = command.parse_args(argv)
    shown = Shown.load(options.shown)
    table = read_csv(options.table, text=True)
    made = layout(options.number, table, options.benchmarks, shown)
    write_text(options.latex, latex(made))
    write_text(options.markdown, markdown(made))
    say("typeset", f"{options.number}: {len(table)} rows -> {options.latex}, {options.markdown}")


if __name__ == "__main__":
    run(main)
