"""Figures 1 and 3: what is drawn, that nothing is clipped or laid over another, and that the bytes are the same each
time."""

import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from m1.core import records, style
from m1.core.errors import UserError
from m1.core.records import Score
from m1.report import figures
from m1.report.files import read_benchmarks
from m1.report.scores import accuracies
from m1.report.settings import Model, Shown
from matplotlib.text import Text
from scipy import stats
from score_files import frame
from shown import NOTHING, save_shown

BENCHMARKS = Path(__file__).parents[2] / "resources" / "paper" / "benchmarks.csv"
HEADINGS = read_benchmarks(BENCHMARKS)
POINTS = pd.read_csv(BENCHMARKS.with_name("figure1.csv"))
BUDGETS = [16, 32, 64, 96, 128, 192, 256]
MODELS = tuple(Model(key, label, None) for key, label in (("a", "m1-7B-1K"), ("b", "m1-7B-23K"), ("c", "m1-32B-1K")))
SHOWN = replace(
    NOTHING,
    models=MODELS,
    figures=("a", "b", "c"),
    budgets=tuple(BUDGETS),
    forced=(0, 1, 2, 4),
    forced_budget=256,
    note="Embedded world: it says nothing about medicine.",
)


def scores(benchmarks: dict[str, list[str]]) -> list[Score]:
    """Twenty scores at every point, correct more often at larger budgets."""
    return [
        Score(f"{i}", benchmark, benchmark, model, budget, forced, True, 9, 3, "", "A", i < share, "boxed letter")
        for number, (model, keys) in enumerate(benchmarks.items())
        for benchmark in keys
        for share, (budget, forced) in enumerate(
            [*((budget, 0) for budget in BUDGETS), (256, 1), (256, 2), (256, 4)], start=number
        )
        for i in range(20)
    ]


EVERYTHING = scores({model: list(HEADINGS) for model in "abc"})


@pytest.fixture
def figure_of():
    made = []

    def make(name: str, rows: list[Score], shown: Shown = SHOWN):
        with plt.rc_context(style.RC):
            figure = figures.FIGURES[name](accuracies(frame(rows)), shown, HEADINGS, POINTS)
            figure.canvas.draw()
        made.append(figure)
        return figure

    yield make
    for figure in made:
        plt.close(figure)


def test_files_are_the_same_bytes_each_time_with_fonts_embedded(tmp_path: Path) -> None:
    records.write(tmp_path / "j.parquet", EVERYTHING, Score)
    contents = []
    for run in ("first", "second"):
        outputs = [tmp_path / run / name for name in ("figure1.pdf", "figure1.png")]
        arguments = [
            "--scores",
            tmp_path / "j.parquet",
            "--shown",
            save_shown(tmp_path, **vars(SHOWN)),
            "--published",
            BENCHMARKS.with_name("figure1.csv"),
            "--benchmarks",
            BENCHMARKS,
        ]
        figures.main(["figure1", *map(str, [*arguments, "--output", *outputs])])
        contents.append([path.read_bytes() for path in outputs])
    assert contents[0] == contents[1]
    pdf, png = contents[0]
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf  # TrueType, embedded
    assert b"/Type3" not in pdf  # letters as drawings, which journals refuse
    assert b"/Subtype /Image" not in pdf  # vectors only
    assert b"CreationDate" not in pdf
    assert png.startswith(b"\x89PNG")
    assert np.frombuffer(png[16:24], ">u4").min() > 600


def test_curves_are_the_accuracies(figure_of) -> None:
    figure = figure_of("figure1", EVERYTHING)
    panels = figure.axes
    assert [panel.get_title() for panel in panels[:11]] == [
        *(f"{column} (n = 20)" for column in HEADINGS.values()),
        "Average of 10",
    ]
    for panel in (panels[0], panels[10]):
        solid = [line for line in panel.lines if line.get_linestyle() == "-"]
        assert [line.get_xdata().tolist() for line in solid] == [BUDGETS] * 3
        assert [line.get_ydata().tolist() for line in solid] == [
            pytest.approx([5.0 * (n + i) for i in range(7)]) for n in range(3)
        ]
        assert len({(line.get_color(), line.get_marker()) for line in solid}) == 3
        assert panel.get_xscale() == "log"
        assert panel.get_xticks().tolist() == BUDGETS
    assert "tokens" in figure.get_supxlabel()
    assert "%" in figure.get_supylabel()
    assert SHOWN.note in [text.get_text() for text in figure.texts]


def test_the_papers_points_are_drawn_beside_the_models_that_stand_for_its_own(figure_of) -> None:
    models = (replace(MODELS[0], published="m1-7B-1K"), MODELS[1], MODELS[2])
    shown = replace(SHOWN, models=models, figure1_published=True)
    panel = next(axes for axes in figure_of("figure1", EVERYTHING, shown).axes if axes.get_title().startswith("PubMed"))
    (hollow,) = [line for line in panel.lines if line.get_markerfacecolor() == "none"]
    assert hollow.get_linestyle() == "None", "points, not a curve"
    assert hollow.get_color() == panel.lines[1].get_color(), "in the colour of the model that stands for them"
    assert dict(zip(*hollow.get_data())) == {
        128: 74.93,
        256: 75.67,
        512: 75.43,
        2048: 76.38,
        4096: 77.32,
        8192: 76.44,
    }  # what is hidden behind another mark is left out
    assert [int(tick) for tick in panel.get_xticks()] == sorted({*BUDGETS, 128, 256, 512, 1024, 2048, 4096, 8192})
    plain = figure_of("figure1", EVERYTHING, replace(shown, figure1_published=False))
    assert not [line for axes in plain.axes for line in axes.lines if line.get_markerfacecolor() == "none"]


def test_forced_waits_are_drawn_at_one_budget(figure_of) -> None:
    panel = figure_of("figure3", EVERYTHING).axes[10]
    assert [line.get_xdata().tolist() for line in panel.lines] == [[0, 1, 2, 4]] * 3
    assert panel.lines[0].get_ydata().tolist() == pytest.approx([30.0, 35.0, 40.0, 45.0])


def test_regression_is_least_squares_with_its_band() -> None:
    accuracy = [10.0, 22.0, 29.0, 41.0, 45.0, 44.0, 52.0]
    where = np.array([16.0, 100.0])
    line = figures.regression(BUDGETS, accuracy, where)
    x = np.log2(BUDGETS)
    fit = stats.linregress(x, accuracy)
    expected = fit.intercept + fit.slope * np.log2(where)
    residuals = accuracy - (fit.intercept + fit.slope * x)
    error = np.sqrt((residuals**2).sum() / 5 * (1 / 7 + (np.log2(where) - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum()))
    assert line["mean"].to_numpy() == pytest.approx(expected)
    assert line["mean_ci_upper"].to_numpy() == pytest.approx(expected + stats.t.ppf(0.975, 5) * error)


def test_panels_are_this_runs_and_incomplete_averages_are_not_drawn(figure_of) -> None:
    rows = scores({"a": ["medqa"], "b": ["medqa", "nejm"], "c": ["medqa", "nejm"]})
    panels = {panel.get_title(): panel for panel in figure_of("figure3", rows).axes}
    assert list(panels) == ["MedQA (n = 20)", "NEJM (n = 20)", "Average of 2", ""]
    assert [len(panels[title].lines) for title in ("MedQA (n = 20)", "NEJM (n = 20)", "Average of 2")] == [3, 2, 2]
    _, nejm, average = figure_of("figure3", rows, replace(SHOWN, figures=("a",))).axes[:3]
    assert [axes.texts[0].get_text() for axes in (nejm, average)] == ["none of these models", "no model has all"]
    colours = {panel.get_title(): [line.get_color() for line in panel.lines] for panel in panels.values()}
    assert colours["NEJM (n = 20)"] == colours["MedQA (n = 20)"][1:]


def test_a_flat_curve_has_an_axis_of_points(figure_of) -> None:
    rows = [replace(row, correct=int(row.question_id) < 5) for row in scores({"a": ["medqa"]})]
    panel = figure_of("figure1", rows, replace(SHOWN, figures=("a",))).axes[0]
    assert set(panel.lines[0].get_ydata()) == {25}
    assert panel.get_ylim() == pytest.approx((23, 27))


def test_a_regression_stays_inside_its_panel_and_between_0_and_100(figure_of) -> None:
    rows = [  # none, then all: the line leaves 0 to 100 % at both ends
        replace(row, correct=row.budget > 64) for row in scores({"a": ["medqa"]}) if row.forced == 0
    ]
    panel = figure_of("figure1", rows, replace(SHOWN, figures=("a",))).axes[0]
    (line,) = [line for line in panel.lines if line.get_linestyle() == ":"]
    x, y = (np.ma.filled(np.ma.asarray(values, float), np.nan) for values in line.get_data())
    drawn = np.isfinite(y)
    assert drawn.any()
    assert not drawn[[0, -1]].any(), "it ends before the first and the last budget"
    low, high = panel.get_ylim()
    assert (low <= y[drawn]).all()
    assert (y[drawn] <= high).all()
    assert ((y[drawn] >= 0) & (y[drawn] <= 100)).all()
    assert y[drawn].max() - y[drawn].min() > 95, "only what leaves the range is left out"
    slope = np.diff(y[drawn]) / np.diff(np.log2(x[drawn]))
    assert slope == pytest.approx(slope[0]), "it does not turn at 0 or 100 %"


@pytest.mark.parametrize("name", ["figure1", "figure3"])
def test_at_the_width_of_a_column_no_font_is_below_six_points(figure_of, name: str) -> None:
    figure = figure_of(name, EVERYTHING)
    assert figure.get_figwidth() == style.WIDTH
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in texts) >= 6


def test_long_names_stay_in_their_places(figure_of) -> None:
    name = "m1-Qwen2.5-7B-Instruct-23K-without-the-difficulty-filter"
    shown = replace(SHOWN, models=tuple(replace(model, label=f"{name} {model.key}") for model in MODELS), note=name * 3)
    figure = figure_of("figure1", scores({model: ["medqa", "questions_of_our_own_hospital"] for model in "abc"}), shown)
    (legend,) = [panel.get_legend().get_texts() for panel in figure.axes if panel.get_legend()]
    for text in [*legend, *figure.texts, *(panel.title for panel in figure.axes)]:
        box = text.get_window_extent()
        assert 0 <= box.x0 <= box.x1 <= figure.bbox.x1, text
        assert 0 <= box.y0 <= box.y1 <= figure.bbox.y1, text
    for one, other in combinations([panel.title.get_window_extent() for panel in figure.axes[:3]], 2):
        assert not one.overlaps(other)


@pytest.mark.parametrize("budgets", [BUDGETS, [32, 256], [64]])
def test_no_text_is_clipped_or_covers_another(figure_of, budgets: list[int]) -> None:
    figure = figure_of("figure1", EVERYTHING, replace(SHOWN, budgets=tuple(budgets)))
    width, height = figure.canvas.get_width_height()
    texts = [figure._supxlabel, figure._supylabel, *figure.axes[-1].get_legend().get_texts()]
    for panel in figure.axes[:-1]:
        low, high = panel.get_ylim()
        texts += [panel.title, *panel.get_xticklabels()]
        texts += [
            label for place, label in zip(panel.get_yticks(), panel.get_yticklabels()) if low <= place <= high
        ]  # others are hidden
    # the label of the x axis keeps an empty line for the note, so its box is cut to its first line
    boxes = {
        f"{number} {text.get_text()}": text.get_window_extent() for number, text in enumerate(texts) if text.get_text()
    }
    (note,) = [text.get_window_extent() for text in figure.texts if text.get_text() == SHOWN.note]
    axis = next(box for name, box in boxes.items() if name.startswith("0 "))
    axis.y0 = (axis.y0 + axis.y1) / 2
    for name, box in (boxes | {"note": note}).items():
        assert box.x0 >= 0, name
        assert box.y0 >= 0, name
        assert box.x1 <= width, name
        assert box.y1 <= height, name
    for (name, box), (other, second) in combinations((boxes | {"note": note}).items(), 2):
        assert not box.overlaps(second), f"{name} covers {other}"


def test_more_benchmarks_make_more_rows() -> None:
    with plt.rc_context(style.RC):
        figure, panels = style.grid(14)
    assert len(panels) == 14
    assert figure.axes[0].get_gridspec().nrows == 5
    plt.close(figure)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "figure1",
            {"models": (Model("z", "Z", None),), "figures": ("z",)},
            "no scores of model 'z'; there are scores of a, b, c",
        ),
        ("figure1", {"budgets": (16, 512)}, "model 'a' on gpqa has none at budget 512"),
        ("figure1", {"budgets": (0, 16)}, "at least 1 token"),
        ("figure3", {"forced": (0, 3)}, "none at budget 256 with 3 forced"),
    ],
)
def test_what_cannot_be_drawn_is_named(figure_of, name: str, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        figure_of(name, EVERYTHING, replace(SHOWN, **changes))


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"saved as .pdf or .png"):
        style.save(plt.figure(), [tmp_path / "figure.gif"])
