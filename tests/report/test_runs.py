"""Two runs side by side: cells.csv and curves.csv against formulas written out here, settings.csv against what was
planted, the page in headless Chromium, and what cannot be compared."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from accessible import problems
from chromium import PROGRAM, Page, browser
from m1.commands import compare_runs
from m1.core import records, style
from m1.core.errors import UserError
from m1.core.records import Question, Score
from m1.report import runs_cells, runs_curves, runs_settings
from m1.report.settings import Margins, Shown
from matplotlib.text import Text
from run_folder import PACKAGES, make_run
from scipy.stats import binomtest, chi2, norm

needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed (Debian's package is chromium)")
BOTH, A, B, NEITHER = "TT", "TF", "FT", "FF"


def words(*counts: tuple[str, int]) -> tuple[str, str]:
    """Verdicts of both runs, from numbers of questions with each pair of verdicts."""
    pairs = "".join(pair * count for pair, count in counts)
    return pairs[::2], pairs[1::2]


MEDQA = words((BOTH, 30), (A, 20), (B, 60), (NEITHER, 10))
NEJM = words((BOTH, 5), (A, 2), (B, 3), (NEITHER, 2))


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """``think`` thinks at two budgets, ``base`` does not; of ``nejm`` each run has two questions of its own."""
    folders = []
    for side, name in enumerate(("one", "other")):
        own = ("TT..", "..FF")[side]
        answers = {
            "base": {"medqa": {(0, 0): MEDQA[1 - side]}, "nejm": {(0, 0): NEJM[side] + own}},
            "think": {
                "medqa": {(4, 0): "F" * 120, (8, 0): MEDQA[side], (8, 1): MEDQA[side]},
                "nejm": {(4, 0): NEJM[side] + own, (8, 0): "F" * 12 + own.replace("T", "F"), (8, 1): "F" * 12 + own},
            },
        }
        folder = make_run(tmp_path / name, answers, {"base": [0], "think": [4, 8]}, table2=["base"])
        folders.append(folder)
    return folders[0], folders[1]


def compared(*folders: Path, names: tuple[str, str] = ("one", "other")) -> Path:
    """The folder of a comparison by the command."""
    output = folders[0].parent / "compared"
    compare_runs.main([*(f"{name}={path}" for name, path in zip(names, folders)), "--output", str(output)])
    return output


def cells(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "cells.csv").set_index(["table", "model", "benchmark"])


def mcnemar(a: int, b: int) -> float:
    return binomtest(a, a + b).pvalue if a + b < 25 else float(chi2.sf((a - b) ** 2 / (a + b), 1))


def interval(a: int, b: int, n: int) -> tuple[float, float]:
    """Agresti and Min's, of B less A in points."""
    b, a, n = b + 0.5, a + 0.5, n + 2
    error = math.sqrt((a + b) / n - ((b - a) / n) ** 2) / math.sqrt(n)
    return 100 * ((b - a) / n - 1.959964 * error), 100 * ((b - a) / n + 1.959964 * error)


def holm(values: list[float]) -> list[float]:
    order, least = sorted(range(len(values)), key=values.__getitem__), 0.0
    found = [0.0] * len(values)
    for rank, place in enumerate(order):
        found[place] = least = max(least, min(1.0, (len(values) - rank) * values[place]))
    return found


# cells.csv


def test_cells_are_what_the_formulas_say(two: tuple[Path, Path]) -> None:
    found = cells(compared(*two))
    assert list(pd.read_csv(two[0].parent / "compared/cells.csv").columns) == runs_cells.COLUMNS
    lines = [("table1", model, key) for model in ("base", "think") for key in ("medqa", "nejm", "average")]
    lines += [("table2", "base", key) for key in ("medqa", "nejm", "average")]
    assert found.index.tolist() == lines
    think = found.loc["table1", "think"]
    counts = ["k_a", "n_a", "k_b", "n_b", "n", "unshared", "both_correct", "only_a", "only_b", "both_incorrect"]
    assert think.loc["medqa", counts].astype(int).tolist() == [50, 120, 90, 120, 120, 0, 30, 20, 60, 10]
    assert think.loc["nejm", counts].astype(int).tolist() == [9, 14, 8, 14, 12, 4, 5, 2, 3, 2]
    assert think[["budget_a", "budget_b"]].astype(str).to_numpy().tolist() == [["8", "8"], ["4", "4"], ["best"] * 2]
    assert think["column"].tolist() == ["MedQA", "NEJM", "Avg. of 2"]
    for key, a, b, n in (("medqa", 20, 60, 120), ("nejm", 2, 3, 12)):
        line, (low, high) = think.loc[key], interval(a, b, n)
        assert line["difference"] == pytest.approx(100 * (b - a) / n, abs=0.005)
        assert [line["difference_low"], line["difference_high"]] == pytest.approx([low, high], abs=0.006)
        assert line["p"] == pytest.approx(mcnemar(a, b), rel=1e-3)
        assert line["margin"] == 3
    assert think["test"].tolist() == ["McNemar", "McNemar", "mean of McNemar"]
    for table in ("table1", "table2"):
        of_table = found.loc[table]
        assert of_table["p_holm"].tolist() == pytest.approx(holm(of_table["p"].tolist()), rel=2e-3)
    assert found.loc[("table1", "think", "medqa"), "verdict"] == "better"
    assert found.loc[("table1", "base", "medqa"), "verdict"] == "worse"
    assert found.loc[("table1", "think", "nejm"), "verdict"] == "no difference shown"


def test_the_average_has_the_error_of_the_mean_of_its_benchmarks(two: tuple[Path, Path]) -> None:
    line = cells(compared(*two)).loc[("table1", "think", "average")]
    assert line["accuracy_a"] == pytest.approx((100 * 50 / 120 + 100 * 9 / 14) / 2, abs=0.006)
    difference = (100 * 40 / 120 + 100 * 1 / 12) / 2
    assert line["difference"] == pytest.approx(difference, abs=0.006)
    assert (line["n"], line["unshared"], line["margin"]) == (132, 4, 2)
    spread = 0.0
    for a, b, n in ((20, 60, 120), (2, 3, 12)):
        p, q = (a + 0.5) / (n + 2), (b + 0.5) / (n + 2)
        spread += (p + q - (q - p) ** 2) / (n + 2) / 4
    error = 100 * math.sqrt(spread)
    ends = [difference - 1.959964 * error, difference + 1.959964 * error]
    assert [line["difference_low"], line["difference_high"]] == pytest.approx(ends, abs=0.006)
    assert line["p"] == pytest.approx(2 * norm.sf(difference / error), rel=1e-3)
    assert line["p_margin"] == pytest.approx(norm.sf((2 - difference) / error), rel=1e-3)


@pytest.mark.parametrize(
    ("difference", "p_holm", "p_margin", "verdict"),
    [
        (1.0, 0.04, 0.01, "better"),
        (-1.0, 0.04, 0.01, "worse"),
        (-1.0, 0.05, 0.01, "equal within the margin"),
        (-1.0, 0.05, 0.05, "no difference shown"),
        (float("nan"), float("nan"), float("nan"), "no question in common"),
    ],
)
def test_a_verdict_needs_holms_correction_or_the_margin(
    difference: float, p_holm: float, p_margin: float, verdict: str
) -> None:
    assert runs_cells.verdict(difference, p_holm, p_margin) == verdict


def test_many_equal_answers_lie_within_the_margin_and_few_do_not(tmp_path: Path) -> None:
    folders = [
        make_run(tmp_path / name, {"m": {"medqa": {(0, 0): "TF" * 500}, "nejm": {(0, 0): "TF" * 6}}}, {"m": [0]})
        for name in ("one", "other")
    ]
    found = cells(compared(*folders)).loc["table1", "m"]
    verdicts = found["verdict"].to_dict()
    assert verdicts == {
        "medqa": "equal within the margin",
        "nejm": "no difference shown",
        "average": "no difference shown",
    }, "twelve questions on which all agree show no equality, nor does an average with them"
    assert (found["difference"] == 0).all()


def test_the_margins_are_those_of_the_first_run(tmp_path: Path) -> None:
    answers = {"m": {"medqa": {(0, 0): "TF" * 20}, "nejm": {(0, 0): "TF" * 20}}}
    wide = make_run(tmp_path / "one", answers, {"m": [0]}, margins=Margins(average=1, cell=10))
    found = cells(compared(wide, make_run(tmp_path / "other", answers, {"m": [0]}))).loc["table1", "m"]
    assert found["margin"].tolist() == [10, 10, 1]
    assert found["verdict"].tolist() == ["equal within the margin"] * 2 + ["no difference shown"]


def test_a_benchmark_with_other_questions_is_named_and_left_out_of_the_average(tmp_path: Path) -> None:
    answers = [{"m": {"medqa": {(0, 0): "TFTF"}, "nejm": {(0, 0): word}}} for word in ("TF..", "..TF")]
    folders = [make_run(tmp_path / name, one, {"m": [0]}) for name, one in zip(("one", "other"), answers)]
    output = compared(*folders)
    found = cells(output).loc["table1", "m"]
    assert found.loc["nejm", ["n", "unshared", "verdict"]].tolist() == [0, 4, "no question in common"]
    assert np.isnan(found.loc["nejm", "p"])
    assert found.loc["average", ["column", "n"]].tolist() == ["Avg. of 1", 4]
    said = pd.read_csv(output / "settings.csv").set_index("step").loc["benchmark nejm"]
    assert said["what"] == "other questions: 0 in both, 2 only in A, 2 only in B"


def test_curves_are_averages_on_the_questions_of_both(two: tuple[Path, Path]) -> None:
    output = compared(*two)
    found = pd.read_csv(output / "curves.csv").set_index(["model", "budget", "forced"])
    assert found.loc["think"].index.tolist() == [(4, 0), (8, 0), (8, 1)]
    assert found.loc[("think", 4, 0), ["accuracy_a", "accuracy_b", "n"]].tolist() == [29.17, 33.33, 132]
    assert found.loc[("think", 8, 0), ["accuracy_a", "accuracy_b"]].tolist() == [20.83, 37.5]
    low, difference, high = found.loc[("think", 8, 0), ["difference_low", "difference", "difference_high"]]
    assert low < difference < high
    assert difference == pytest.approx(100 * 40 / 120 / 2, abs=0.006)
    assert (output / "curves.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("models", [0, 1, 2, 5])
def test_curves_fit_a_column_of_print(models: int) -> None:
    points = [
        {"model": model, "label": f"m1-Qwen2.5-7B-{model}", "budget": budget, "forced": 0, "benchmarks": 10, "n": 11461}
        for model in range(models)
        for budget in (128, 256, 512, 1024, 2048, 4096, 8192)
    ]
    columns = ["model", "label", "budget", "forced", "benchmarks", "n"]
    values = pd.DataFrame(points, columns=columns).assign(accuracy_a=60.0, accuracy_b=61.0)
    with plt.rc_context(style.RC):
        figure = runs_curves.draw(values, "before", "after-with-a-much-longer-name-of-letters-and-digits")
        figure.canvas.draw()
        texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert figure.get_figwidth() == style.WIDTH
    assert min(text.get_fontsize() for text in texts) >= 6
    for text in texts:
        box = text.get_window_extent()
        assert 0 <= box.x0 <= box.x1 <= figure.bbox.x1, text
        assert 0 <= box.y0 <= box.y1 <= figure.bbox.y1, text
    names = [text for legend in figure.legends for text in legend.get_texts()]
    names += [panel.title for panel in figure.axes if panel.get_title()]
    for one, other in combinations(names, 2):
        assert not one.get_window_extent().overlaps(other.get_window_extent())
    plt.close(figure)


def test_a_budget_of_one_run_only_has_a_point_and_no_difference(tmp_path: Path) -> None:
    answers = [{"m": {"medqa": {(budget, 0): "TTFF", (8, 0): "TFTF"}}} for budget in (2, 4)]
    folders = [make_run(tmp_path / name, one, {"m": [8]}) for name, one in zip(("one", "other"), answers)]
    found = pd.read_csv(compared(*folders) / "curves.csv").set_index("budget")
    assert found["accuracy_a"].isna().tolist() == [False, True, False]
    assert found["difference"].isna().tolist() == [True, True, False]


# settings.csv


def test_what_differs_has_a_line_and_what_says_nothing_one_of_each_kind(tmp_path: Path) -> None:
    answers = {name: {"medqa": {(0, 0): "TTFF"}, "nejm": {(0, 0): "TF"}} for name in ("a", "b")}
    answers["m"] = {"medqa": {(8, 0): "TTFF"}, "nejm": {(8, 0): "TF"}}
    budgets = {"a": [0], "b": [0], "m": [8]}
    made = {"commit": "fedcba9876543210", "dirty": True, "packages": PACKAGES | {"torch": "2.1"}}
    planted = {
        f"infer_sweep {model}": {
            "made_by": made,
            "settings": [{"budgets": [4, 8], "serve": ["program", "/other/facts.json"]}, {"path": f"/x/{model}.jsonl"}],
            "seconds": 100.0,
        }
        for model in answers
    }
    planted["train_sft m"] = {
        "inputs": {"base": {"path": "/other/machine/bases/tiny", "sha256": "c" * 64}},
        "settings": {"path": "/other/machine/data/m.jsonl", "seed": 43},
        "ran": {"device": "CPU", "processes": 2},  # that of the first run was taken from the store
    }
    planted["infer_sweep m"]["ran"] = {"device": "H100"}
    planted["score_predictions a"] = {"outputs": {"a.parquet": "d" * 64}}
    before = {
        f"infer_sweep {model}": {"settings": [{"serve": ["program", "/my/facts.json"]}, {"path": f"y/{model}.jsonl"}]}
        for model in answers
    }
    before["infer_sweep m"]["ran"] = {"device": "CPU", "attention_backend": "sdpa"}
    texts = dict.fromkeys(answers, "the same")
    one = make_run(tmp_path / "here/one", answers, budgets, texts, manifests=before)
    other = make_run(tmp_path / "there/run", answers, budgets, texts, manifests=planted, seed=2, forced=(0, 1))
    (other / "score/b.json").unlink()
    for number, base in enumerate((one / "bases/tiny", other / "bases/tiny")):
        base.mkdir(parents=True)
        (base / "config.json").write_text(json.dumps({"model_type": "qwen2", "hidden_size": 32 + number}))
        base.with_name("tiny.sha256").write_text("bc"[number] * 64)
    questions = pd.DataFrame({"a": [4, 2], "b": [4, 3], "both": [4, 1]}, index=["medqa", "nejm"])
    shown = [Shown.load(folder / "shown.json") for folder in (one, other)]
    found = runs_settings.differences((one, shown[0]), (other, shown[1]), questions)
    lines = [tuple(line) for line in found.itertuples(index=False)]
    made_again = "another result from the same settings and inputs: other code, packages or hardware"
    hash_of_a = json.loads((one / "score/a.json").read_text())["outputs"]["a.parquet"][:12]
    assert lines[:-2] == [
        ("configuration", "report_shown", "forced", "[0]", "[0, 1]", "what the report shows"),
        ("configuration", "report_shown", "seed", "1", "2", "what the report shows"),
        ("data", "base tiny", "weights", "b" * 12, "c" * 12, "other base weights"),
        ("configuration", "base tiny", "hidden_size", "32", "33", "architecture"),
        ("configuration", "train_sft m", "settings.seed", "42", "43", "setting"),
        ("configuration", "infer_sweep a, b, m", "settings.budgets", "", "[4, 8]", "setting"),
        ("configuration", "infer_sweep m", "ran.device", "CPU", "H100", "as it was computed"),
        ("data", "benchmark nejm", "questions", "2", "3", "other questions: 1 in both, 1 only in A, 2 only in B"),
        ("data", "train_sft m", "inputs.base", "b" * 12, "c" * 12, "other base weights"),
        ("data", "score_predictions a", "outputs", hash_of_a, "d" * 12, made_again),
        ("elsewhere", "score_predictions", "manifest", "", "b", "no manifest there: not compared"),
        ("code", "all", "commit", "012345678", "012345678, fedcba987 with edits", "of this package"),
        ("code", "all", "packages.torch", "2.0", "2.0, 2.1", "version"),
    ]
    assert [line[2] for line in lines[-2:]] == ["paths", "seconds"]
    assert lines[-1][3:] == ("9", "305", "in all steps together")
    assert runs_settings.differences((one, shown[0]), (one, shown[0]), questions[:1]).empty


def test_settings_of_several_objects_are_told_apart_only_where_they_share_a_key() -> None:
    assert dict(runs_settings.flatten([{"a": 1}, {"b": {"c": [2, 3]}}])) == {"a": 1, "b.c": [2, 3]}
    assert dict(runs_settings.flatten({"x": [{"a": 1}, {"a": 2}]})) == {"x.0.a": 1, "x.1.a": 2}
    assert list(runs_settings.flatten(None)) == []


# what cannot be compared


def refused(*folders: Path | str) -> str:
    """What the command says of two folders; it has written nothing."""
    with TemporaryDirectory() as place, pytest.raises(UserError) as error:
        compare_runs.main([*map(str, folders), "--output", f"{place}/nowhere"])
    assert not Path(place, "nowhere").exists()
    return str(error.value)


def small(folder: Path, model: str = "m", benchmark: str = "medqa", verdicts: str = "TF", **shown: Any) -> Path:
    return make_run(folder, {model: {benchmark: {(8, 0): verdicts}}}, {model: [8]}, **shown)


def test_what_has_nothing_in_common_is_said_with_what_each_has(tmp_path: Path) -> None:
    one = small(tmp_path / "one")
    said = refused(one, small(tmp_path / "two", benchmark="nejm"))
    assert said == "the runs have no benchmark in common: one has medqa; two has nejm"
    assert (
        refused(one, small(tmp_path / "three", model="n")) == "the runs have no model in common: one has m; three has n"
    )
    said = refused(one, small(tmp_path / "four", verdicts="..TF"))
    assert said == "one and four: no question in common on medqa, so nothing can be paired"
    said = refused(one, small(tmp_path / "five", table1=()))
    assert said == "one and five: no row of Table 1 or 2 in common; only one has m in table1"


def test_a_model_of_one_run_only_is_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = {"m": {"medqa": {(0, 0): "TF"}}, "n": {"medqa": {(0, 0): "TF"}}}
    folders = [
        make_run(tmp_path / name, {key: answers[key] for key in keys}, {key: [0] for key in keys})
        for name, keys in (("one", "mn"), ("other", "m"))
    ]
    output = compared(*folders)
    assert set(cells(output).index.get_level_values("model")) == {"m"}
    assert "Left out: only one has the models n." in capsys.readouterr().out
    assert "Only one has the models n" in (output / "changed.html").read_text(encoding="utf-8")


def test_a_run_half_finished_names_the_file_and_what_makes_it(tmp_path: Path) -> None:
    one, other = small(tmp_path / "one"), small(tmp_path / "other")
    for name in ("score/m.parquet", "infer/m/rollouts.parquet", "train/m/tokenizer.json", "benchmarks/medqa.parquet"):
        lost = other / name
        kept = lost.read_bytes()
        lost.unlink()
        said = refused(one, other)
        assert said.startswith(f"{lost}: no such file, though {other}/shown.json shows it: the run is not finished"), (
            said
        )
        assert f"snakemake {lost} --configfile" in said
        lost.write_bytes(kept)
    (other / "shown.json").unlink()
    said = refused(one, other)
    assert said.startswith(f"{other}/shown.json: no such file: the run is not finished"), said
    assert f"snakemake {other}/shown.json" in said


def test_what_another_version_shows_is_said_with_what_to_do(tmp_path: Path) -> None:
    one, other = small(tmp_path / "one"), small(tmp_path / "other")
    shown = json.loads((other / "shown.json").read_text())
    (other / "shown.json").write_text(json.dumps(shown | {"of_tomorrow": 1}))
    said = refused(one, other)
    assert f"{other}/shown.json: unknown key 'of_tomorrow'" in said
    assert (
        "Another version of this package may have written it. Delete it; making it again takes a second. Make it with"
        in said
    )


def test_a_folder_that_is_none_of_results_is_said(tmp_path: Path) -> None:
    one = small(tmp_path / "one")
    (tmp_path / "empty").mkdir()
    assert "empty: no folder of results: it has no shown.json" in refused(one, tmp_path / "empty")
    assert "nowhere: no such folder; name the folder of a run's results" in refused(one, tmp_path / "nowhere")
    (tmp_path / "link").symlink_to(one)
    assert "are the same folder; two runs have a folder each" in refused(one, f"other={tmp_path / 'link'}")


def test_names_are_the_last_parts_of_the_paths_or_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = small(tmp_path / "x/results"), small(tmp_path / "y/results")
    assert "both runs would be called 'results'; give it as NAME=FOLDER" in refused(one, other)
    assert "becomes a folder's name" in refused(f"../up={one}", other)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linked").symlink_to(one)
    compare_runs.main(["linked/", "other=y/results"])
    assert (tmp_path / "results/compare/linked/vs/other/changed.html").is_file()
    assert "1 models, 1 benchmarks, 2 questions in both" in capsys.readouterr().out


def test_a_file_that_is_not_what_was_written_is_not_compared(tmp_path: Path) -> None:
    one, other = small(tmp_path / "one"), small(tmp_path / "other")
    damaged = other / "score/m.parquet"
    shutil.copy(one / "score/m.parquet", damaged)
    assert f"{damaged}: changed or damaged since it was written" in refused(one, other)
    small(other)
    (other / "train/m/manifest.json").write_text("{}")
    assert f"{other}/train/m/manifest.json: no manifest of this workflow" in refused(one, other)


# the page


def content(html: str, name: str) -> Any:
    return json.loads(html.partition(f'id="{name}">')[2].partition("</script>")[0])


def test_the_page_opens_on_the_averages_and_holds_what_changed_sides(two: tuple[Path, Path]) -> None:
    output = compared(*two)
    facts = content((output / "changed.html").read_text(encoding="utf-8"), "facts")
    assert [model["model"] for model in facts["models"]] == [
        *("one: base", "one: think"),
        *("other: base", "other: think"),
    ]
    assert [model.get("of") for model in facts["models"]] == [None, None, 0, 1]
    runs = facts["runs"]
    averages = [(one["label"], one["table"], one["verdict"]) for one in runs["averages"]]
    assert averages == [
        (label, f"Table {n}", "no difference shown") for label, n in (("BASE", 1), ("THINK", 1), ("BASE", 2))
    ]
    assert {one["why"] for one in runs["averages"]} == {"132 questions in both runs; 4 in one run only"}
    assert dict(runs["counts"]) == {"better": 1, "worse": 2, "no difference shown": 3}
    assert f"{80 + 80 + 5 + 5} answers are correct in one run and incorrect in the other" in runs["about"][0]
    lengths = {name: length for name, _, length in facts["layout"]}
    assert lengths["question"] == lengths["opened"] == 2 * 170
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["counts"]["changed"] == 170
    assert set(manifest["outputs"]) == {path.name for path in output.iterdir()} - {"manifest.json"}


def test_a_comparison_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    one, other = small(tmp_path / "one", verdicts="TT"), small(tmp_path / "other", verdicts="TF")
    compared(one, other)
    output = compared(one, small(tmp_path / "third", verdicts="FF"), names=("one", "other"))
    assert cells(output).loc[("table1", "m", "medqa"), "only_a"] == 2
    assert "2 answers are correct in one run" in (output / "changed.html").read_text(encoding="utf-8")


@needs_chromium
def test_each_reading_opens_at_the_budget_of_its_own_table(tmp_path: Path) -> None:
    answers = [{"m": {"medqa": {(4, 0): "FT", (8, 0): word}}} for word in ("TT", "FF")]
    folders = [make_run(tmp_path / name, one, {"m": own}) for name, one, own in zip("ab", answers, ([8], [4]))]
    with browser() as opened:
        opened.open(compared(*folders) / "changed.html", "#questions")
        opened.ask("open(found[0]).then(() => null)")
        pressed = "[...document.querySelectorAll('.settings [aria-pressed=true] small')].map((one) => one.textContent)"
        assert opened.ask(pressed) == ["8", "4"]


def test_two_equal_runs_make_a_page_without_a_changed_question(tmp_path: Path) -> None:
    output = compared(small(tmp_path / "one"), small(tmp_path / "other"))
    facts = content((output / "changed.html").read_text(encoding="utf-8"), "facts")
    assert facts["settings"] == facts["models"] == []
    assert "0 answers are correct in one run" in facts["runs"]["about"][0]


SIDES = "[...document.querySelectorAll('.sides > section')].map((one) => one.innerText)"


@pytest.fixture
def open_page(two: tuple[Path, Path]) -> Iterator[Page]:
    path = compared(*two) / "changed.html"
    with browser() as opened:
        opened.size(1400, 900)
        opened.open(path)
        yield opened
        assert opened.errors == []
        assert [one for one in opened.requests if not one.startswith(("file:", "data:", "about:"))] == []


@needs_chromium
def test_a_changed_question_opens_with_both_texts_side_by_side(open_page: Page) -> None:
    assert "one and other, side by side" in open_page.ask("$('answer').innerText")
    assert open_page.ask("document.querySelector('[data-tab=run]')") is None
    open_page.ask("document.querySelector('[data-tab=questions]').click()")
    assert open_page.ask("$('count').textContent") == (
        "170 of 170 answers that are correct in one run only · correct in one 84, in other 86"
    )
    for value, count, model in (("correct", 22, "1"), ("incorrect", 63, "1"), ("correct", 62, "0")):
        chosen = f"$('verdict').value = '{value}'; $('model').value = '{model}'; filter(); found.length"
        assert open_page.ask(chosen) == count
    open_page.ask("$('model').value = '1'; $('verdict').value = 'correct'; filter(); open(found[0]).then(() => null)")
    one, other = open_page.ask(SIDES)
    assert one.startswith("one")
    assert other.startswith("other")
    assert "one thinks so yes" in one
    assert "other thinks so no" in other
    assert "\ncorrect\n" in one
    assert "\nincorrect\n" in other
    assert "one thi" in one.partition("Thinking: 8 tokens")[2] or "one thi" in one
    hash = open_page.ask("decodeURIComponent(location.hash)")
    assert hash == "#question/medqa/medqa-30/one: think/8/0", "at the setting of the table"
    left, right = open_page.ask(
        "[...document.querySelectorAll('.sides > section')].map((one) => one.getBoundingClientRect().top)"
    )
    assert left == right
    open_page.size(700, 900)
    left, right = open_page.ask(
        "[...document.querySelectorAll('.sides > section')].map((one) => one.getBoundingClientRect().top)"
    )
    assert left < right, "one under the other"


@needs_chromium
def test_the_address_of_the_second_runs_reading_opens_both_and_another_setting_goes_for_both(
    two: tuple[Path, Path], open_page: Page
) -> None:
    open_page.open(two[0].parent / "compared/changed.html", "#question/nejm/nejm-5/other%3A%20think/4/0")
    open_page.wait(f"{SIDES}.length === 2")
    pressed = (
        "[...document.querySelectorAll('.settings [aria-pressed=true]')].map((one) => one.innerText.split('\\n')[0])"
    )
    assert open_page.ask(pressed) == ["4", "4"]
    open_page.ask("document.querySelectorAll('.sides > section')[1].querySelectorAll('.settings button')[1].click()")
    open_page.wait(f"{pressed}.join() === '8,8'")


@needs_chromium
def test_the_page_of_two_runs_is_for_all_readers(two: tuple[Path, Path], open_page: Page) -> None:
    path, reading = two[0].parent / "compared/changed.html", "question/nejm/nejm-5/other%3A%20think/4/0"
    shown = [(dark, place) for dark in (False, True) for place in ("answer", "tables/settings", reading)]
    for width, (dark, place) in product((390, 1280), shown):
        open_page.size(width, 900, dark)
        open_page.open(path, f"#{place}")
        open_page.wait(f"{SIDES}.length === {2 if place == reading else 0}")
        assert problems(open_page) == [], place
        assert open_page.ask("document.documentElement.scrollWidth") <= width
    open_page.open(path, "#tables")
    tables = "[...document.querySelectorAll('#tables .chips button')].map((one) => one.textContent)"
    assert open_page.ask(tables)[-1] == "What differs", "what the manifests say comes last"
    first = "[...document.querySelector('#tables tbody tr').cells].slice(0, 6).map((one) => one.dataset.head)"
    assert open_page.ask(first) == ["verdict", "label", "column", "accuracy a", "accuracy b", "difference"]


@needs_chromium
def test_options_in_another_order_have_the_letters_of_the_first_run(tmp_path: Path) -> None:
    folders = [small(tmp_path / name, verdicts=word) for name, word in (("one", "TF"), ("other", "FT"))]
    path = folders[1] / "benchmarks/medqa.parquet"
    turned = [replace(one, options=one.options[::-1], answer="B") for one in records.read(path, Question)]
    (folders[1] / "benchmarks/medqa.json").unlink()
    records.write(path, turned, Question)
    scores = folders[1] / "score/m.parquet"
    (folders[1] / "score/m.json").unlink()
    rows = [replace(row, letter="AB"[row.letter == "A"]) for row in records.read(scores, Score)]
    records.write(scores, rows, Score)
    with browser() as opened:
        opened.open(compared(*folders) / "changed.html", "#questions")
        assert "2 changed questions have their options in another order in other" in opened.ask(
            "document.body.textContent"
        )
        opened.ask("open(found[0]).then(() => null)")
        chosen = "[...document.querySelectorAll('.sides li.chosen')].map((one) => one.innerText.replace('\\n', ' '))"
        assert [text.partition("\n")[0] for text in opened.ask(chosen)] == ["A yes", "B no"]
