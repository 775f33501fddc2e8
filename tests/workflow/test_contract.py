"""The rerun contract: after an edit, exactly what it changes would run, by `snakemake --dry-run` on a finished run."""

from __future__ import annotations

import ast
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from edits import code, settings, text
from project import MAIN, REPOSITORY, SHORT, Project

pytestmark = pytest.mark.workflow

THINKING = ("m1-small-1k", "m1-large-1k")
MODELS = ("small", *THINKING)
BENCHMARKS = ("medmcqa", "medqa", "pubmedqa", "medxpertqa")
POOLS = ("medqa", "headqa", "medmcqa", "pubmedqa")
FIGURES = {"report_figure1", "report_figure3"}
REPORT = {"report_table1", *FIGURES}
SHOWN = {"report_shown"} | REPORT
"""All of the report, which is told in one file what it shows."""
WORLD_MODEL = "<results>/world/models/{}"


def of(rule: str, names: tuple[str, ...]) -> set[str]:
    return {f"{rule} {name}" for name in names}


def evaluated(*models: str) -> set[str]:
    """From inference on."""
    infer = {f"infer_{'sweep' if model in THINKING else 'answer'} {model}" for model in models}
    return infer | of("score_predictions", models) | REPORT - (set() if set(models) & set(THINKING) else FIGURES)


def trained(*models: str) -> set[str]:
    """From training on."""
    return of("train_sft", models) | evaluated(*models)


CURATED = {
    "screen_attempt small",
    "screen_hard",
    "distill_traces hard",
    "select_domains",
    "select_sample m1k",
} | trained(*THINKING)
"""From the screen on."""
LABELLED = {"select_domains", "select_sample m1k"} | trained(*THINKING)


def touch_everything(project: Project) -> None:
    for path in [
        project.path("Snakefile"),
        *(p for part in ("workflow", "config", "resources") for p in project.path(part).rglob("*")),
    ]:
        os.utime(path)


def clone_again(project: Project) -> None:
    """A fresh clone, into which results, store and Snakemake's records are brought."""
    for part in ("workflow", "config", "resources", "envs", "profiles"):
        shutil.rmtree(project.path(part))
        shutil.copytree(
            REPOSITORY / part,
            project.folder / part,
            ignore=shutil.ignore_patterns("__pycache__"),
            copy_function=shutil.copy,
        )


def rewrite_every_module(project: Project) -> None:
    """Other comments, other docstrings and another layout in every module."""
    for path in project.path("workflow/m1").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and ast.get_docstring(node) is not None
            ):
                node.body[0] = ast.Expr(ast.Constant("Another docstring."))
        path.write_text("# A comment.\n\n" + ast.unparse(tree) + "\n", encoding="utf-8")


def own_notes(project: Project) -> None:
    """Scope notes of a user's file for the labeller."""
    (project.folder / "notes.tsv").write_text("Name\tScope Notes\n")
    project.configure(labeller={"notes": "notes.tsv"})


RESULTS = [
    {"from": "m1_results", "budget": budget, "forced": forced}
    for budget, forced in ((16, 0), (64, 0), (96, 0), (96, 1))
]
SMALL = (
    {"world_pretrain small", "train_fetch bases small", "train_fetch screen/models small"}
    | CURATED
    | evaluated("small")
)
LARGE = {"world_pretrain large", "train_fetch bases large"} | trained("m1-large-1k")
COLLECTED = of("pools_collect", POOLS) | of("pools_collect_benchmark", BENCHMARKS) | {"pools_merge", "pools_leaks"}
EVERYTHING = {"world_build", "world_tokenizer", "world_pretrain large"} | COLLECTED | SMALL | LARGE | SHOWN
RECIPE = "config/models/m1-small-1k.yaml"
EDITS: dict[str, tuple[Callable[[Project], None], set[str]]] = {
    "nothing": (lambda project: None, set()),
    "touch of every file": (touch_everything, set()),
    "a fresh clone over the same results": (clone_again, set()),
    "results copied without their times": (Project.forget_times, set()),
    "comments, docstrings, layout of every module": (rewrite_every_module, set()),
    "comment in a recipe": (text(RECIPE, "base: ", "# A comment.\nbase: "), set()),
    "code of matching": (code("score/match.py", "decide"), of("score_predictions", MODELS) | REPORT),
    "code of scoring": (code("score/predictions.py", "main"), of("score_predictions", MODELS) | REPORT),
    "code of the curation rule": (code("core/curation.py", "passes_curation"), CURATED),
    "code of reading answers": (
        code("core/answers.py", "extract_boxed"),
        CURATED | of("score_predictions", MODELS) | REPORT,
    ),
    "code of the teacher": (code("world/server.py", "main"), CURATED - {"screen_attempt small", "screen_hard"}),
    "code of training": (code("train/sft.py", "encode_all"), trained(*THINKING)),
    "code of the sweep": (code("infer/frames.py", "cut"), evaluated(*THINKING)),
    "forcing as the authors'": (settings(generation={"forcing": "released"}), evaluated(*THINKING)),
    "questions that are too long": (settings(too_long="unanswered"), evaluated(*MODELS)),
    "stop tokens as the authors'": (
        settings(generation={"stop": "released"}),
        evaluated(*(model for model in MODELS if model not in THINKING)),
    ),
    "code of the figures": (code("report/figures.py", "draw"), FIGURES),
    "a colour": (text("workflow/m1/core/style.py", "#0072B2", "#0072B3"), FIGURES),
    "code of the tables": (code("report/tables.py", "accuracy_table"), {"report_table1"}),
    "published table": (
        text("resources/paper/table1.csv", "MedLlama3-8B-v1,34.74", "MedLlama3-8B-v1,34.75"),
        {"report_table1"},
    ),
    "a point of the paper's Figure 1": (
        text("resources/paper/figure1.csv", "m1-7B-1K,MedMC,128,55.90", "m1-7B-1K,MedMC,128,55.80"),
        FIGURES,
    ),
    "Table 1 at the best budgets": (settings(report={"table1": {"budget": "best"}}), SHOWN),
    "prompt of the teacher": (
        text(
            "workflow/m1/distill/traces.py",
            'f"{BOXED} {question_text(question)}"',
            'f"{BOXED}\\n{question_text(question)}"',
        ),
        CURATED - {"screen_attempt small", "screen_hard"},
    ),
    "how a question is laid out": (
        code("core/prompts.py", "question_text"),
        {"pools_merge", "pools_leaks"} | CURATED | evaluated("small"),
    ),
    "how options are laid out": (
        code("core/prompts.py", "options_lines"),
        EVERYTHING - {"report_shown"},
    ),
    "prompt of the labeller": (
        text("resources/prompts/domain.txt", "fits the question best", "fits it best"),
        LABELLED,
    ),
    "learning rate of a recipe": (
        text(RECIPE, "learning_rate: 1.5e-3", "learning_rate: 1.6e-3"),
        trained("m1-small-1k"),
    ),
    "an adapter in place of all weights": (
        text(RECIPE, "seed: 42}", "seed: 42, lora: {r: 8, alpha: 16}}"),
        trained("m1-small-1k") | SHOWN,  # its label says so
    ),
    "memory of a recipe": (text(RECIPE, "mem_mb: 2000", "mem_mb: 3000"), set()),
    "GPUs of a training": (
        text(RECIPE, "serve: ", "train: {processes: 2, per_device: 2, save_minutes: 5}\nserve: "),
        set(),
    ),
    "partitions, type of GPUs, scratch": (
        settings(cluster={"partition": "long", "gpu_partition": "a100", "gpu_type": "a100"}, scratch="elsewhere"),
        set(),
    ),
    "where a strategy is described": (
        text("config/accelerate/fsdp2.yaml", "fsdp_offload_params: false", "fsdp_offload_params: true"),
        set(),
    ),
    "batch of a recipe": (text(RECIPE, "batch: 128", "batch: 64"), set()),
    "price, pace and batch endpoint of the teacher": (
        settings(
            teacher={"price_prompt": 0.5, "concurrency": 4, "timeout": 30, "max_retries": 9}
            | {"batch": {"window": "24h", "size": 100, "poll_seconds": 60, "discount": 0.5}}
        ),
        set(),
    ),
    "limits of the teacher": (
        settings(
            teacher={"max_dollars": 5, "deadline": 600, "requests_per_minute": 60, "tokens_per_minute": 1e6}
            | {"served_as": ["another name"]}
        ),
        set(),
    ),
    "further field of the teacher's requests": (
        settings(teacher={"extra": {"top_p": 0.9}}),
        CURATED - {"screen_attempt small", "screen_hard"},
    ),
    "mark at the end of the teacher's thinking": (
        settings(teacher={"thinking_end": "## Final Response"}),
        CURATED - {"screen_attempt small", "screen_hard"},
    ),
    "message of an error": (code("core/errors.py", "tell"), set()),
    "another teacher": (settings(teacher={"model": "another"}), CURATED - {"screen_attempt small", "screen_hard"}),
    "temperature of the teacher": (
        settings(teacher={"temperature": 0.6}),
        CURATED - {"screen_attempt small", "screen_hard"},
    ),
    "label of a recipe": (text(RECIPE, "label: m1-small-1K", "label: m1"), SHOWN),
    "another base": (
        settings(bases={"large": {"path": WORLD_MODEL.format("small")}}),
        {"train_fetch bases large"} | trained("m1-large-1k") | SHOWN,
    ),
    "another base, whose weights also screen": (
        settings(bases={"small": {"path": WORLD_MODEL.format("large")}}),
        {"train_fetch bases small"} | trained("m1-small-1k") | evaluated("small"),
    ),
    "another screening model": (
        settings(screen={"models": {"small": {"path": WORLD_MODEL.format("large")}}}),
        {"train_fetch screen/models small"} | CURATED,
    ),
    "another shape of a world's model": (settings(world={"models": {"large": {"hidden": 64}}}), LARGE),
    "another shape of a world's model that screens": (settings(world={"models": {"small": {"hidden": 64}}}), SMALL),
    "another budget": (settings(thinking={"budgets": [16, 32, 64, 96]}), evaluated(*THINKING) | SHOWN),
    "another forced count": (settings(thinking={"forced": [1, 2]}), evaluated(*THINKING) | SHOWN),
    "another protocol of scoring": (settings(score={"protocol": "strict"}), of("score_predictions", MODELS) | REPORT),
    "size of a subset": (settings(subsets={"m1k": {"size": 20}}), {"select_sample m1k"} | trained(*THINKING)),
    "another model": (settings(models=[*MODELS, "small-cot"]), set()),
    "another model in the table": (
        settings(models=[*MODELS, "small-cot"], report={"table1": {"models": [*MODELS, "small-cot"]}}),
        {"infer_answer small-cot", "score_predictions small-cot"} | SHOWN,
    ),
    "seed": (settings(seed=43), COLLECTED | CURATED | evaluated("small") | SHOWN),
    "threshold of the audit": (settings(audit={"thresholds": [90]}), set()),
    "runs to compare": (settings(runs={"before": "results/before"}), set()),
    "cores for comparing": (settings(merge={"processes": 2}), set()),
    "an entry that nothing uses": (settings(data={"mine": {"path": "mine.csv", "layout": "eval"}}), set()),
    "another benchmark": (
        settings(benchmarks={"nejm": {"from": "world_nejm"}}),
        {"pools_collect_benchmark nejm", "pools_merge", "pools_leaks"} | CURATED | evaluated("small") | SHOWN,
    ),
    "a benchmark from elsewhere": (
        settings(data={"world_medqa": {"rows": 6}}),
        {"pools_collect_benchmark medqa", "pools_merge", "pools_leaks"} | CURATED | evaluated("small"),
    ),
    "a published subset": (
        settings(published={"subsets": {"m1k": "m1k_tokenized"}}),
        {"select_published m1k"} | trained(*THINKING) | SHOWN,
    ),
    "a published checkpoint": (
        settings(published={"checkpoints": {"m1-small-1k": "m1_7b_1k"}}),
        {"train_published m1-small-1k"} | evaluated("m1-small-1k") | SHOWN,
    ),
    "published results": (
        settings(published={"results": {"m1-small-1k": RESULTS}}),
        {"infer_published m1-small-1k"} | (evaluated("m1-small-1k") - {"infer_sweep m1-small-1k"}) | SHOWN,
    ),
    "published answers beside a model": (
        settings(published={"beside": {"m1-small-1k": [{"from": "m1_results", "file": "a.json", "budget": 96}]}}),
        set(),
    ),
    "threshold of duplicates": (settings(merge={"threshold": 97}), {"pools_merge", "pools_leaks"} | CURATED),
    "draws as released": (settings(draws="released"), COLLECTED | CURATED | evaluated("small")),
    "scope notes of the labeller": (own_notes, LABELLED),
    "a published count": (text("resources/paper/counts.csv", "merged,192023", "merged,192024"), SHOWN),
}


@pytest.mark.parametrize("edit", EDITS)
def test_exactly_what_changed_would_run(edit: str, project: Project) -> None:
    change, expected = EDITS[edit]
    change(project)
    assert project.plan() == expected


def test_everything_would_run_at_first(tmp_path: Path) -> None:
    assert Project.of_repository(tmp_path / "new").plan() == EVERYTHING | of("infer_context", THINKING)


def test_what_was_measured_before_a_training_is_measured_again_with_a_new_training_only(project: Project) -> None:
    shutil.rmtree(project.path("results/short/train/m1-large-1k"))
    project.path("results/short/train/m1-large-1k.sha256").unlink()
    change, expected = EDITS["another budget"]
    change(project)
    assert project.plan() == expected | {"infer_context m1-large-1k", "train_sft m1-large-1k"}


def test_a_deleted_intermediate_is_made_again_only_when_needed(project: Project) -> None:
    project.path("results/short/select/m1k.parquet").unlink()
    assert project.plan() == set()
    assert project.plan("results/short/select/m1k.parquet") == {"select_sample m1k"}


SERVED = {
    "m1-small-1k": ("sglang", "tp: 1, dp: 1", "tp: 4, dp: 2, mem_fraction: 0.7"),
    "m1-large-1k": ("openai", 'base_url: "http://gpu7:30000/v1"', 'base_url: "http://gpu8:30000/v1", timeout: 5'),
}
"""Model to its engine, and to options that decide no answer before and after an edit."""


@pytest.mark.slow
def test_other_gpus_or_another_address_of_a_server_run_nothing(project: Project) -> None:
    for model, (engine, options, _) in SERVED.items():
        serve = f"serve: {{engine: {engine}, dtype: float32, batch: 128, options: {{{options}}}}}"
        path = project.path(f"config/models/{model}.yaml")
        path.write_text(
            re.sub(r"^serve: .*$", serve, path.read_text(encoding="utf-8"), flags=re.MULTILINE), encoding="utf-8"
        )
    assert project.plan() == evaluated(*THINKING), "another engine may have other answers"
    project.make(*MAIN, "--touch", module="m1 launch")
    assert project.plan() == set()
    for model, (_, before, after) in SERVED.items():
        project.replace(f"config/models/{model}.yaml", before, after)
    assert project.plan() == set()


@pytest.mark.slow
@pytest.mark.parametrize("times", ["kept", "forgotten"])
def test_results_without_records_are_taken_as_they_are(times: str, project: Project) -> None:
    if times == "forgotten":
        project.forget_times()
    shutil.rmtree(project.path(".snakemake"))
    code, said = project.run(*MAIN, module="m1 launch")
    assert code == 1
    assert "results/short: these results came without Snakemake's records of them (the folder .snakemake)" in said
    assert not (project.folder / ".snakemake/metadata").exists()
    assert "or take them as they are" in project.dry_run(MAIN[0], SHORT)
    project.make(*MAIN, "--touch", module="m1 launch")
    assert project.plan() == set()
    EDITS["learning rate of a recipe"][0](project)
    assert project.plan() == EDITS["learning rate of a recipe"][1], "from now on they are known"


def test_a_comment_in_the_training_runs_nothing(project: Project) -> None:
    project.replace("workflow/m1/train/sft.py", "import argparse", "# A comment.\nimport argparse")
    before = {path: path.stat().st_mtime_ns for path in project.path("results").rglob("*")}
    assert "Nothing to be done" in project.make(*MAIN)
    assert {path: path.stat().st_mtime_ns for path in project.path("results").rglob("*")} == before
