"""The report's page as readers meet it: what is on the screen at the widths of a laptop and a phone, by keyboard, and
for a screen reader. The tests read it in headless Chromium."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from accessible import press, problems, tab_stops
from chromium import PROGRAM, Page, browser
from m1.report.compare import COLUMNS
from m1.report.typeset import DEEPEST
from page_run import PAPER, Run
from shown import accuracy_row

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed (Debian's package is chromium)")
OWN = ("m1-7B-1K", "m1-7B-23K", "m1-32B-1K")
READING = "question/medqa/plain/think/16/0"
TABS = ("answer", "tables/table1", "tables/compare", "tables/claims", "tables/sorted", "figures", "questions", READING)


def comparison() -> list[dict[str, str]]:
    """``compare.csv`` at its full width, in which a row without a model comes before one with a model."""
    lines = []
    for model, published, why in (("", "MedLlama3-8B-v1", "no model of this run stands for it"), ("think", OWN[0], "")):
        for column in ("MedMC", "Avg."):
            line = dict.fromkeys(COLUMNS, "" if not model else "12.34") | {"table": "table1", "group": "<10B LLMs"}
            line |= {"published": published, "column": column, "published_accuracy": "57.76", "model": model}
            line |= {"benchmark": "average" if column == "Avg." else "medmcqa", "label": model and "Think"}
            found = {"accuracy": "57.26", "difference": "-0.50", "why": "neither less than 3 points nor beyond chance"}
            lines.append(
                line | (found | {"verdict": "cannot tell"} if model else {"verdict": "out of reach", "why": why})
            )
    return lines


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run whose Table 1 has all rows and columns of the paper's."""
    run = Run(tmp_path_factory.mktemp("readers"), {"plain": "aspirin", "other": "µg of 5 %", "more": "x"})
    pd.read_csv(PAPER / "table1.csv", dtype=str).assign(Budget="4096").to_csv(run.folder / "table1.csv", index=False)
    with (run.folder / "compare.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(comparison())
    return run.make(note="", table1=tuple(accuracy_row(name, label=name, bold=True) for name in OWN))


@pytest.fixture(scope="module")
def browsed() -> Iterator[Page]:
    with browser() as found:
        yield found
        assert found.errors == []


@pytest.fixture
def open_page(browsed: Page, report: Path) -> Page:
    browsed.size(1280, 900)
    browsed.open(report)
    return browsed


def test_table_1_has_the_papers_groups_shades_and_own_models(open_page: Page, report: Path) -> None:
    paper = pd.read_csv(PAPER / "table1.csv", dtype=str)
    bodies = (
        "[...document.querySelectorAll('#answer .paper tbody')].map((body) => "
        "[...body.rows].map((row) => [...row.cells].map((cell) => cell.textContent)))"
    )
    expected = [[[name], *rows.iloc[:, 1:].to_numpy().tolist()] for name, rows in paper.groupby("group", sort=False)]
    assert open_page.ask(bodies) == expected
    own = "[...document.querySelectorAll('#answer .paper .own')].map((row) => row.cells[0].textContent)"
    assert open_page.ask(own) == list(OWN)
    spans = "[...document.querySelectorAll('#answer .spans th')].map((one) => [one.textContent, one.colSpan])"
    assert open_page.ask(spans) == [["In-distribution tests", 3], ["Out-of-distribution tests", 7]]
    deepest = (
        "[...document.querySelectorAll('#answer .paper tbody')].map((body) => [...body.rows].filter((row) => "
        f"row.cells[3]?.style.getPropertyValue('--shade') === '{DEEPEST}%').map((row) => row.cells[0].textContent))"
    )
    best = paper.loc[paper["PubMed"].astype(float).groupby(paper["group"], sort=False).idxmax(), "model"]
    assert open_page.ask(deepest) == [[name] for name in best]
    press_heading = "document.querySelectorAll('#answer .paper thead button')[11].click()"
    open_page.ask(press_heading)
    averages = [[row[-1] for row in body[1:]] for body in open_page.ask(bodies)]
    assert averages == [sorted(one, key=float, reverse=True) for one in averages], "groups sort apart"


@pytest.mark.parametrize("place", ["answer", "tables/table1"])
def test_table_1_is_whole_at_1280_pixels(open_page: Page, report: Path, place: str) -> None:
    open_page.open(report, f"#{place}")
    table = "document.querySelector('main > section:not([hidden]) .paper')"
    width, seen, right = open_page.ask(
        f"[{table}.scrollWidth, {table}.parentElement.clientWidth, {table}.getBoundingClientRect().right]"
    )
    assert 600 < width <= seen
    assert right <= 1280
    assert open_page.ask("document.documentElement.scrollHeight") <= 900, "only the part that is shown scrolls"


def test_our_numbers_of_the_comparison_are_on_the_screen(open_page: Page, report: Path) -> None:
    open_page.open(report, "#tables/compare")
    heads = "[...document.querySelectorAll('#tables thead button')].map((one) => one.textContent)"
    boxes = (
        "[...document.querySelector('#tables tbody tr').cells].map((cell) => {"
        "const box = cell.getBoundingClientRect(); return [cell.textContent, box.right, box.bottom]; })"
    )
    found = dict(zip(open_page.ask(heads), open_page.ask(boxes), strict=True))
    ours = {"label": "Think", "accuracy": "57.26", "published accuracy": "57.76", "difference": "-0.50"}
    assert {name: found[name][0] for name in ours} == ours
    assert all(right <= 1280 and bottom <= 900 for _, right, bottom in (found[name] for name in [*ours, "why"]))


def test_two_filters_of_the_same_names_are_one(open_page: Page, report: Path, tmp_path: Path) -> None:
    shown = "[...document.querySelectorAll('#filters label')].filter((one) => !one.hidden).map((one) => one.innerText)"
    open_page.open(report, "#questions")
    names = [text.split("\n")[0].strip() for text in open_page.ask(shown)]
    assert "Benchmark" in names
    assert "Source" not in names
    open_page.open(Run(tmp_path, {"a": "x", "b": "y"}, "one source of both benchmarks").make(), "#questions")
    assert "Source" in [text.split("\n")[0].strip() for text in open_page.ask(shown)]


def test_no_column_is_cut_on_a_phone(open_page: Page, report: Path) -> None:
    open_page.size(390, 844)
    cut = (
        "[...document.querySelectorAll('th, td')].filter((one) => one.checkVisibility()).filter((one) => {"
        "const box = one.getBoundingClientRect();"
        "return box.left < 0 || box.right > 390 || one.scrollWidth > one.clientWidth + 1; })"
        ".map((one) => one.textContent)"
    )
    for place in TABS:
        open_page.open(report, f"#{place}")
        assert open_page.ask(cut) == [], place
        assert open_page.ask("document.documentElement.scrollWidth") <= 390, place
    open_page.open(report, "#tables/table1")
    first = "document.querySelector('#tables td.number').parentElement"
    labels = f"[...{first}.querySelectorAll('td')].map((one) => one.dataset.head)"
    assert open_page.ask(labels) == list(pd.read_csv(PAPER / "table1.csv").columns[2:]), "each cell names its column"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_names_headings_and_contrast(open_page: Page, report: Path, width: int, dark: bool) -> None:
    open_page.size(width, 900, dark)
    for place in (*TABS, "run"):
        open_page.open(report, f"#{place}")
        open_page.ask("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        if place == READING:
            open_page.wait("document.querySelector('.scored')")
        assert problems(open_page) == [], place


def test_what_was_wrong_is_found(open_page: Page) -> None:
    """The check itself: a page with each fault."""
    open_page.ask(
        "document.getElementById('answer').innerHTML = `<h4>h</h4><button></button><table><tr><th>t</table><img>"
        "<p class=soft>pale</p>`; document.querySelector('.soft').style.color = '#999'"
    )
    said = " ".join(problems(open_page))
    for part in ("skipped", "no name: button", "without a caption", "without scope", "image without", "contrast of P"):
        assert part in said


def test_the_tab_key_goes_through_the_page_and_the_focus_is_seen(open_page: Page, report: Path) -> None:
    stops = tab_stops(open_page)
    assert [name for name, _ in stops[:4]] == ["skip", "tab-answer", "theme", "answer"]
    assert len(stops) > 10
    assert all(seen for _, seen in stops), stops
    open_page.ask("document.getElementById('skip').focus()")
    press(open_page, "Enter", 13)
    assert open_page.ask("document.activeElement.id") == "answer"
    assert open_page.ask("location.hash") == ""


def test_the_focus_stays_where_something_is_drawn_anew(open_page: Page, report: Path) -> None:
    open_page.open(report, "#tables")
    open_page.ask("document.querySelectorAll('#tables .chips button')[2].focus()")
    press(open_page, "Enter", 13)
    focused = "[document.activeElement.textContent, document.activeElement.ariaPressed]"
    assert open_page.ask(focused) == ["Comparison with the paper", "true"]
    open_page.open(report, f"#{READING}")
    open_page.wait("document.querySelector('.settings button')")
    open_page.ask("document.querySelector('.settings button').focus()")
    press(open_page, "Enter", 13)
    open_page.wait("document.querySelector('.settings button').ariaPressed === 'true'")
    assert open_page.ask("document.activeElement === document.querySelector('.settings button')")


def test_the_manifests_come_last(open_page: Page) -> None:
    """In the order of the elements, which the tab key and screen readers follow, as in the tabs."""
    panels = "[...document.querySelectorAll('main > section')].map((one) => one.id)"
    controlled = "[...document.querySelectorAll('[role=tab]')].map((one) => one.getAttribute('aria-controls'))"
    assert open_page.ask(panels) == open_page.ask(controlled)
    assert open_page.ask(panels)[-1] == "run"
