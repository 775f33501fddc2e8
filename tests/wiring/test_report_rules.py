"""What the rules of the report see: what is shown, inputs, targets; and that no command is long."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from m1.report.settings import Model, Shown, Subset
from m1.wiring.report import FIGURES, ReportRules
from rules import rules as workflow_rules
from run_folder import make_run
from runs import ROOT, demo, demo_run, published_run, wildcards


@pytest.fixture(scope="module")
def rules() -> ReportRules:
    return ReportRules(demo_run())


@pytest.fixture(scope="module")
def published() -> ReportRules:
    return ReportRules(published_run())


def demo_rules(**changes: Any) -> ReportRules:
    return ReportRules(demo_run(**changes))


def in_results(*files: str) -> set[str]:
    return {f"<results>/{file}" for file in files}


# What is shown


def test_what_is_shown_survives_its_way_to_the_steps(rules: ReportRules, tmp_path: Path) -> None:
    text = rules.shown().to_json()
    assert text == demo_rules().shown().to_json()
    assert Shown.from_json(text) == rules.shown()
    (tmp_path / "shown.json").write_text(text)
    assert Shown.load(tmp_path / "shown.json") == rules.shown()


def test_table_1_shows_models_that_answer_at_once_without_a_budget(rules: ReportRules) -> None:
    rows = {row.model: row for row in rules.shown().table1}
    assert list(rows) == rules.report["table1"]["models"]
    assert rows["small"].budgets == rows["small"].published_budgets == (0,)
    assert not rows["small"].bold
    assert vars(rows["m1-small-1k"]) == {
        "model": "m1-small-1k",
        "label": "m1-small-1K",
        "group": "<10B LLMs",
        "published": "m1-7B-1K",
        "budgets": (rules.report["table1"]["budget"],),
        "published_budgets": tuple(rules.run.config["thinking"]["budgets"]),
        "bold": True,
        "trainings": (),
    }


def test_the_best_budget_is_of_those_up_to_8192_that_the_model_has() -> None:
    report = demo()["report"]
    report["table1"] |= {"budget": "best"}
    rules = demo_rules(report=report, thinking=demo()["thinking"] | {"budgets": [128, 16384, 8192, 16]})
    rows = {row.model: row for row in rules.shown().table1}
    assert rows["m1-small-1k"].budgets == rows["m1-small-1k"].published_budgets == (16, 128, 8192)
    assert (rows["m1-small-1k"].budget, rows["small"].budget) == ("best", "0")


def test_a_set_beside_the_subsets_is_drawn_if_it_is_there() -> None:
    report = demo()["report"]
    report["figure8a"] |= {"beside": {"s1K": "s1k"}}
    assert demo_rules(report=report).shown().figure8a[-1] == Subset("s1K", "select/s1k.parquet", optional=True)


def test_rows_of_table_2_go_by_their_subset(rules: ReportRules) -> None:
    rows = rules.shown().table2
    assert rows is not None
    assert [row.model for row in rows] == rules.report["table2"]["models"]
    assert {(row.label, row.group) for row in rows} == {
        (one["label"], one["scale"]) for one in (rules.run.recipes[row.model]["ablation"] for row in rows)
    }
    assert {row.budgets for row in rows} == {(rules.report["table2"]["budget"],)}


def test_a_model_trained_by_an_adapter_says_so_wherever_it_is_shown() -> None:
    run = demo_run()
    run.recipes["m1-small-1k"]["sft"]["lora"] = {"r": 8, "alpha": 16, "dropout": 0, "targets": None}
    shown = ReportRules(run).shown()
    rows = {row.model: row for row in [*shown.table1, *(shown.table2 or ())]}
    assert shown.table2
    assert [row.label for row in shown.table2 if row.model == "m1-small-1k"] == ["Hard Domain Dataset (LoRA)"]
    assert [row.label for row in shown.table1 if row.model == "m1-small-1k"] == ["m1-small-1K (LoRA)"]
    assert {model.label for model in shown.models if model.key == "m1-small-1k"} == {"m1-small-1K (LoRA)"}
    assert shown.departures == {"m1-small-1k": "trained by LoRA (rank 8), which is not the paper's training"}
    assert rows["m1-small-1k"].published == "Hard Domain Dataset", "it stands for the same row"
    run.recipes["m1-small-1k"]["label"] = "m1-small-LoRA"
    assert {model.label for model in ReportRules(run).shown().models if model.key == "m1-small-1k"} == {"m1-small-LoRA"}
    run.trained_here.remove("m1-small-1k")
    assert "m1-small-LoRA" in {model.label for model in ReportRules(run).shown().models}
    assert ReportRules(run).shown().departures == {}, "what is taken as published"


def test_every_row_refers_to_a_published_one(rules: ReportRules) -> None:
    shown = rules.shown()
    for table, rows, place in (("table1", shown.table1, 1), ("table2", shown.table2, 1), ("table3", shown.table3, 0)):
        with open(ROOT / f"resources/paper/{table}.csv", encoding="utf-8") as lines:
            known = {line[place] for line in csv.reader(lines)}
        assert rows
        assert {row.published for row in rows} - {None} <= known


def test_table_3_counts_each_subset_and_all_pools_together(rules: ReportRules) -> None:
    first, *_, last = rules.shown().table3
    config = rules.run.config
    assert first.files == tuple(f"pools/{pool}.parquet" for pool in config["pools"])
    assert last.files == ("select/m1k.parquet",)
    subsets = {f"<results>/select/{name}.parquet" for name in config["subsets"]}
    assert {file for file in rules.table3_files() if "/select/" in file} == subsets
    assert rules.shown().pools == tuple(config["pools"])


def test_figures_take_their_own_axis(rules: ReportRules) -> None:
    shown, thinking = rules.shown(), rules.run.config["thinking"]
    assert shown.budgets == tuple(thinking["budgets"])
    assert shown.forced == (0, *thinking["forced"])
    assert shown.forced_budget == thinking["forced_budget"]
    assert [(model.key, model.label) for model in shown.figure_models] == [
        (key, rules.run.recipes[key]["label"]) for key in rules.report["figures"]
    ]


def test_forcing_until_the_budget_is_used_up_is_forced_as_often_as_the_budget_has_tokens() -> None:
    thinking = demo()["thinking"] | {"forced": [1, "full"], "forced_budget": 192}
    assert demo_rules(thinking=thinking).shown().forced == (0, 1, 192)


def test_a_model_that_is_not_shown_changes_nothing(rules: ReportRules) -> None:
    bases = demo()["bases"] | {"0.5b": {"hub": "a/b"}}
    more = demo_rules(models=[*rules.run.config["models"], "m1-0.5b-1k"], bases=bases)
    assert "m1-0.5b-1k" in more.run.recipes
    assert more.shown() == rules.shown()


def test_without_table_2_it_is_no_target_and_the_rest_stays(rules: ReportRules) -> None:
    assert "<results>/table2.csv" in rules.targets()
    without = demo_rules(report=demo()["report"] | {"table2": None})
    assert not any("table2" in path for path in without.targets())
    assert without.shown().table2 is None
    assert without.shown().table1 == rules.shown().table1
    assert without.table_models("table2") == []
    assert "table2" not in without.shown().page_tables


# What is read


def test_files_that_are_shown_are_inputs(rules: ReportRules, published: ReportRules) -> None:
    for one in (rules, published):
        shown = one.shown()
        assert in_results(*(file for row in shown.table3 for file in row.files), shown.questions) == set(
            one.table3_files()
        )
        labels = [shown.domains] if shown.domains else []
        assert in_results(*(subset.file for subset in shown.table4), *labels) == set(one.table4_files())
        assert in_results(*(subset.file for subset in shown.figure8a)) == set(one.subsets())
        assert in_results(*(file for part in shown.manifests for file in part.files)) == set(one.manifests())
        tables, figures = [f"{name}.csv" for name in shown.page_tables], [f"{name}.png" for name in shown.page_figures]
        assert in_results(*tables, *figures) == set(one.page())


def test_texts_are_questions_answers_and_thinking(rules: ReportRules) -> None:
    found = set(rules.texts(["small", "m1-small-1k"]))
    questions = {path for path in found if "/benchmarks/" in path}
    assert questions == in_results(*(f"benchmarks/{key}.parquet" for key in rules.shown().benchmarks))
    assert found - questions == in_results(
        "infer/small/predictions.parquet",
        "infer/m1-small-1k/predictions.parquet",
        "infer/m1-small-1k/rollouts.parquet",
    )
    assert rules.tokenizers(["small", "m1-small-1k"]) == ["<results>/train/m1-small-1k"]


def test_only_models_with_rollouts_have_a_tokenizer(published: ReportRules) -> None:
    models = {model.key: model for model in published.shown().models}
    assert models["m1-small-1k"] == Model("m1-small-1k", "m1-small-1K", "train/m1-small-1k", "m1-7B-1K")
    assert models["m1-large-1k"].tokenizer is None, "its results are published, without thinking"
    assert models["small"].tokenizer is None, "it does not think"
    assert "<results>/infer/m1-large-1k/rollouts.parquet" not in published.texts(published.models)


def test_scores_are_those_of_the_models_of_a_table(rules: ReportRules) -> None:
    models = rules.table_models("table1")
    assert rules.scores(models) == [f"<results>/score/{model}.parquet" for model in models]
    assert set(rules.compared) == {*models, *rules.table_models("table2")}
    assert set(rules.models) == {*rules.compared, *rules.figures}


def test_published_answers_beside_are_those_of_models_of_tables_1_and_2_and_no_other_table_sees_them(
    rules: ReportRules,
) -> None:
    one = {"from": "m1_results", "file": "a.json"}
    last, first = rules.table_models("table2")[-1], "m1-small-1k"
    files = {last: [one | {"budget": rules.report["table2"]["budget"]}], first: [one | {"budget": 192}]}
    beside = demo_rules(published=demo()["published"] | {"beside": files})
    assert rules.singles() == []
    assert beside.singles() == [f"<results>/published/{name}/score.parquet" for name in (first, last)]
    assert beside.shown() == rules.shown(), "what reads shown.json would run again"
    assert beside.run.benchmarks == rules.run.benchmarks
    assert beside.manifests() == rules.manifests()


def test_a_published_m23k_leaves_no_trace_of_screen_and_teacher_in_the_tables(published: ReportRules) -> None:
    assert not any("screen" in path or "distill" in path for path in published.table3_files())
    assert published.shown().domains is None


def test_each_manifest_belongs_to_one_rule(rules: ReportRules) -> None:
    files = rules.manifests()
    assert len(files) == len(set(files))
    made_by = {part.rule: part.files for part in rules.shown().manifests}
    assert made_by["infer_answer"] == tuple(
        f"infer/{name}/manifest.json" for name in rules.run.direct if name in rules.models
    )
    assert made_by["train_sft"][0] == "train/m1-small-1k"


def test_only_steps_of_this_run_are_counted_as_spending(rules: ReportRules) -> None:
    assert "<results>/spending.csv" in rules.targets()
    subsets = dict.fromkeys(demo()["subsets"], "m1k_tokenized")
    nothing = demo_rules(published=demo()["published"] | {"subsets": subsets})
    assert "<results>/spending.csv" not in nothing.targets()


def test_every_table_and_figure_has_a_caption(rules: ReportRules) -> None:
    for name in [*rules.tables(), *FIGURES]:
        assert (ROOT / f"workflow/report/{name}.rst").is_file()


# What Snakemake makes of it


def test_all_of_the_report_is_made_where_snakemake_runs() -> None:
    """``use rule`` takes everything over but this."""
    found = {name: rule.local for name, rule in workflow_rules().items() if name.startswith("report_")}
    assert len(found) > 15
    assert [name for name, local in found.items() if not local] == []


def test_no_command_of_the_paper_is_long() -> None:
    command = [sys.executable, "-m", "snakemake", "-n", "-p", "--configfile", "config/paper.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    commands = re.findall(r"^Shell command: (.*)$", done.stdout + done.stderr, re.MULTILINE)
    assert len(commands) > 100
    assert max(map(len, commands)) <= 1500


# Two runs side by side


def test_a_comparison_declares_what_is_there_of_what_it_reads(tmp_path: Path) -> None:
    """The step says what is missing, so that no rule tries to make another run's files."""
    answers = {"m": {"medqa": {(8, 0): "TF"}}, "n": {"medqa": {(0, 0): "TF"}}}
    one = make_run(tmp_path / "one", answers, {"m": [8], "n": [0]})
    other = make_run(tmp_path / "other", {"m": answers["m"]}, {"m": [8]})
    (other / "infer/m/rollouts.parquet").unlink()
    (one / "bases/tiny").mkdir(parents=True)
    (one / "bases/tiny/config.json").write_text("{}")
    runs = {"a": f"{one}/", "b": str(other)}
    rules = demo_rules(runs=runs)
    job = wildcards(a="a", b="b")
    assert rules.named_runs(job) == f"a={one} b={other}", "in their plain form"
    of_both = [
        "benchmarks/medqa.json",
        "benchmarks/medqa.parquet",
        "infer/m/manifest.json",
        "infer/m/predictions.parquet",
    ]
    of_both += ["score/m.json", "score/m.parquet", "shown.json", "train/m/manifest.json", "train/m/tokenizer.json"]
    own = ["bases/tiny/config.json", "infer/m/rollouts.parquet", "infer/n/manifest.json", "score/n.json"]
    assert sorted(rules.files_of_run("a")(job)) == [f"{one}/{name}" for name in sorted(of_both + own)]
    assert sorted(rules.files_of_run("b")(job)) == [f"{other}/{name}" for name in of_both]
    (one / "shown.json").write_text("{")
    assert rules.files_of_run("a")(job) == [f"{one}/shown.json"]
    with pytest.raises(SystemExit, match=r"^error: runs: there is no 'c'; known are a, b"):
        rules.files_of_run("b")(wildcards(a="a", b="c"))
    other.rename(tmp_path / "moved")
    with pytest.raises(SystemExit, match=rf"^error: runs\.b: {other}: No such file or directory; name the folder of a"):
        rules.files_of_run("a")(job)
