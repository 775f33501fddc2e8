"""Tables 1 to 4 as LaTeX (booktabs) and Markdown, in the paper's layout, from the CSVs of :mod:`m1.report.tables`.

Rows of Tables 1 and 2 stand under the name of their group. In LaTeX, cells are shaded green: within a column of a
group, a deeper green is a higher accuracy. Markdown has no shades. Tables 3 and 4 show this run's counts; the CSVs also
have the published ones.
"""

import html
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from m1.core.errors import run
from m1.core.files import write_text
from m1.core.progress import say
from m1.report.files import parser, read_csv
from m1.report.settings import Shown
from m1.report.tables import BUDGET, MISSING

CAPTIONS = {
    "table1": "Accuracy (%) on each benchmark. Own models in bold.",
    "table2": "Data filtering: accuracy (%) after training on each subset.",
    "table3": "Questions of each training pool after each step of the curation.",
    "table4": "Questions of each domain and training pool in the training subsets.",
}
SHADES = {
    "table1": "Green within each group: the deeper, the higher the accuracy.",
    "table2": "Green within each scale: the deeper, the higher the accuracy.",
}
"""What the LaTeX caption says of the shades."""
DEEPEST = 40  # per cent of green behind the highest accuracy; black text on it is still easy to read
WIDE = 9  # a table with so many columns is scaled to the width of the text
TALL = 40  # a table with more rows is set in the smallest type, so that it stays on a page
PREAMBLE = (
    "% needs \\usepackage[T1]{fontenc}, \\usepackage{booktabs}, \\usepackage{graphicx} and \\usepackage[table]{xcolor}"
)
NAMED = {"\\": "backslash", "~": "asciitilde", "^": "asciicircum", "<": "less", ">": "greater", "|": "bar"}
NAMED |= {"`": "asciigrave", "'": "quotesingle", '"': "quotedbl"}
LATEX = {
    **{character: f"\\{character}" for character in "#$%&_{}"},
    **{character: f"\\text{name}{{}}" for character, name in NAMED.items()},
    **{character: f"{{{character}}}" for character in "[]*"},  # LaTeX reads [ or * after a line end as its argument
}
DASH = "–"


@dataclass(frozen=True)
class Row:
    """A row of a table."""

    name: str
    cells: list[str]
    bold: bool
    shades: list[int]  # per cent of green; 0 for none


@dataclass(frozen=True)
class Layout:
    """A table in the order in which it is set."""

    number: str
    caption: str
    remarks: str  # follow the caption
    first: str  # heading of the first column
    spans: list[str]  # heading above each of the others; empty for none
    columns: list[str]  # their own headings
    groups: dict[str, list[Row]]  # name of the group (empty for none) to its rows


def accuracy_layout(
    table: pd.DataFrame, kinds: Mapping[str, str], bold: Sequence[str]
) -> tuple[list[str], dict[str, list[Row]]]:
    """Spanning headings and rows of Table 1 or 2.

    Args:
        table: as text: group, name, an accuracy or ``missing`` for each benchmark, Avg.
        kinds: heading of a benchmark to its kind (in or out of the distribution of the training data).
        bold: names of rows in bold.
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
    """Per cent of green: 0 at the lowest accuracy and :data:`DEEPEST` at the highest. Missing accuracies, and those
    that are all equal, get 0."""
    low, high = accuracy.min(), accuracy.max()
    if not low < high:
        return pd.Series(0, index=accuracy.index)
    return (DEEPEST * (accuracy - low) / (high - low)).fillna(0).round().astype(int)


def layout(number: str, table: pd.DataFrame, kinds: Mapping[str, str], bold: Sequence[str], note: str) -> Layout:
    """A table of the paper, from its CSV as text (``number``: a key of :data:`CAPTIONS`)."""
    budgets = [budget for budget in table.get(BUDGET, pd.Series()).drop_duplicates() if budget]
    thinking = f"Thinking budget (tokens): {', '.join(budgets)}." if budgets else ""
    table = table.drop(columns=BUDGET, errors="ignore")
    remarks = " ".join(filter(None, [thinking, note]))
    if number in ("table1", "table2"):
        spans, groups = accuracy_layout(table, kinds, bold)
        first, columns = table.columns[1], list(table.columns[2:])
        return Layout(number, CAPTIONS[number], remarks, first[:1].upper() + first[1:], spans, columns, groups)
    own = [column for column in table.columns[1:] if not column.endswith(" published")]
    spans = [column.partition(" ")[0] if number == "table4" else "" for column in own]
    columns = [column.partition(" ")[2] if number == "table4" else column for column in own]
    first = table.columns[0]
    cells = zip(table[first], table[own].to_numpy().tolist())
    rows = [Row(name, values, False, [0] * len(own)) for name, values in cells]
    return Layout(number, CAPTIONS[number], remarks, first, spans, columns, {"": rows})


def plain(text: str) -> str:
    """Text on one line, without control characters, invisible marks and marks that change its direction."""
    spaced = " ".join(text.split())
    return "".join(character for character in spaced if not unicodedata.category(character).startswith("C"))


def latex_text(text: str) -> str:
    """LaTeX that prints any text. A Latin font lacks characters beyond Latin 1, so their code points are printed."""
    printed = "".join(LATEX.get(c, c if c < "\u0100" else f"{{[}}U+{ord(c):04X}{{]}}") for c in plain(text))
    return re.sub(r"([-,])(?=\1)", r"\1{}", printed)  # TeX joins two of them to a dash or a quotation mark


def markdown_text(text: str) -> str:
    """Markdown that shows any text, also in a cell of a table."""
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", html.escape(plain(text), quote=False))


def _cell(text: str) -> str:
    return "" if text in ("", MISSING) else text


def latex(table: Layout) -> str:
    """The table as a LaTeX float."""
    width = len(table.columns)
    rows = sum(len(rows) for rows in table.groups.values())
    size = "\\tiny" if rows > TALL else "\\small"
    scaled = width >= WIDE and rows <= TALL
    caption = " ".join(filter(None, [table.caption, SHADES.get(table.number), table.remarks]))
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
    """The table as Markdown. Each column of Table 4 repeats its spanning heading."""
    joined = table.number == "table4"
    columns = [f"{span} {column}" if joined else column for span, column in zip(table.spans, table.columns)]
    lines = [f"**Table {table.number.removeprefix('table')}.** {markdown_text(f'{table.caption} {table.remarks}')}", ""]
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
    bold = [row.label for row in shown.accuracy_tables.get(options.number, ()) if row.bold]
    benchmarks = read_csv(options.benchmarks, ["column", "kind"])
    table = read_csv(options.table, text=True)
    kinds = dict(zip(benchmarks["column"], benchmarks["kind"]))
    made = layout(options.number, table, kinds, bold, shown.note)
    write_text(options.latex, latex(made))
    write_text(options.markdown, markdown(made))
    say("typeset", f"{options.number}: {len(table)} rows -> {options.latex}, {options.markdown}")


if __name__ == "__main__":
    run(main)
