"""The laptop's configuration in short, on a real language model and real questions: from the published subset to Table
1, figures and page. Minutes on two cores; ``make test-real``. With ``M1_REAL_SHORT`` set, as in continuous integration,
shorter still, and without what takes longest."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import real_material
import torch
from anew import Recording, anew
from m1.core.records import Prediction, Question, Sample, read
from m1.core.store import Store
from m1.engines.cached import TransformersEngine
from m1.infer.frames import make_frames
from m1.infer.sweep import render
from m1.score.predictions import score
from m1.score.settings import SCORING_PROTOCOLS
from m1.train.sft import encode_all
from project import Project
from random_model import sweep_settings
from safetensors.torch import load_file, save_file
from sweeps import swept
from transformers import AutoTokenizer

pytestmark = pytest.mark.real
OVERLAYS = (
    "config/paper.yaml",
    "config/overlays/laptop.yaml",
    "tests/configs/real.yaml",
    *(["tests/configs/real-short.yaml"] if real_material.SHORT else []),
)
RESULTS = "results/real"
MODEL = "m1-135m"
SETTINGS = {"budgets": [32, 64, 96], "forced": [1, 2], "forced_budget": 96, "answer_limit": 24}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished run."""
    if why := real_material.lacking():
        pytest.skip(why)
    project = Project.of_repository(tmp_path_factory.mktemp("real") / "project")
    real_material.put_material(project.folder / "data")
    code, said = project.run("all", overlays=OVERLAYS)
    assert code == 0, said[-6000:]
    return project


def test_the_whole_paper_is_made_of_real_weights_and_text(real: Project) -> None:
    rows = list(csv.DictReader(real.path(f"{RESULTS}/table1.csv").open(encoding="utf-8")))
    assert [row["model"] for row in rows] == ["SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct +CoT", "m1-135M"]
    for name in ("figure1.pdf", "figure3.pdf", "figure4.png", "figure5.png", "figure8a.pdf", "report.html"):
        assert real.path(f"{RESULTS}/{name}").stat().st_size > 5_000
    verdicts = {row["verdict"] for row in csv.DictReader(real.path(f"{RESULTS}/compare.csv").open(encoding="utf-8"))}
    assert verdicts == {"out of reach"}


@real_material.long  # of two steps, the first has a rate of 0
def test_the_loss_falls(real: Project) -> None:
    lines = real.path(f"{RESULTS}/train/{MODEL}/log.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["loss"] for line in lines if "loss" in json.loads(line)]
    assert losses[-1] < losses[0]


def test_labels_are_thinking_and_answer_of_real_text(real: Project) -> None:
    samples = read(real.path(f"{RESULTS}/select/m1k.parquet"), Sample)
    tokenizer = AutoTokenizer.from_pretrained(real.path(f"{RESULTS}/bases/135m"))
    encoded = encode_all(tokenizer, samples, 8192, 0, Path("m1k.parquet"))
    for sample, example in zip(samples, encoded.examples, strict=True):
        learned = tokenizer.decode([label for label in example["labels"] if label >= 0])
        whole = tokenizer.decode(example["input_ids"])
        assert sample.thinking.strip() in learned
        assert sample.answer.strip() in learned
        assert sample.prompt.strip() in whole
        assert sample.prompt.strip() not in learned


@real_material.long
def test_cut_equals_direct_on_real_questions(real: Project, tmp_path: Path) -> None:
    """Token by token in float32, at every setting."""
    model = real.path(f"{RESULTS}/train/{MODEL}")
    paths = sorted(real.path(f"{RESULTS}/benchmarks").glob("*.parquet"))
    asked = [(path.stem, question) for path in paths for question in read(path, Question)[:5]]
    assert len(asked) == 20
    tokenizer, settings = AutoTokenizer.from_pretrained(model), sweep_settings(**SETTINGS)
    prompts = render(tokenizer, [question for _, question in asked], "thinking")
    with Store(tmp_path) as store:
        engine = Recording(lambda: TransformersEngine(model, "float32", batch=20), "cut", store, "cut")
        predictions = swept(engine, tokenizer, asked, "m", settings).predictions
    frames = make_frames(tokenizer, settings)
    engine.check(anew(TransformersEngine(model, "float32", batch=20), prompts, frames), frames, predictions)


def test_real_answers_are_read_as_their_protocol_says(real: Project) -> None:
    """This model mostly repeats the options. The released rules take a letter out of that; ``strict`` takes none."""
    paths = real.path(f"{RESULTS}/benchmarks").glob("*.parquet")
    questions = {question.id: question for path in paths for question in read(path, Question)}
    for name in ("135m", "135m-cot", MODEL):
        predictions = read(real.path(f"{RESULTS}/infer/{name}/predictions.parquet"), Prediction)
        assert any(len(one.answer) > 40 for one in predictions)
        rules = {}
        for protocol in SCORING_PROTOCOLS:
            scores = score(predictions, questions, protocol)
            rules[protocol] = Counter(one.rule if one.letter else "no answer" for one in scores)
            shares = ", ".join(f"{rule} {n / len(scores):.0%}" for rule, n in rules[protocol].most_common())
            print(f"{name}, {protocol}, {len(scores)} answers: {shares}")
        assert rules["released"]["no answer"] == rules["first"]["no answer"] == 0
        assert rules["released"]["lone letter"] > len(predictions) / 3
        assert rules["strict"]["no answer"] > len(predictions) / 3
        assert not rules["strict"].keys() & {"lone letter", "most similar option"}


@real_material.long
def test_another_base_runs_only_what_is_built_on_it(real: Project, tmp_path: Path) -> None:
    project = real.copy(tmp_path / "project")
    swapped = project.folder / "data" / "swapped"
    shutil.copytree((project.folder / "data" / "SmolLM2-135M-Instruct").resolve(), swapped)
    weights = load_file(swapped / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"] * torch.tensor(1.01, dtype=torch.bfloat16)
    save_file(weights, swapped / "model.safetensors", metadata={"format": "pt"})
    (project.folder / "swap.yaml").write_text("bases: {135m: {path: data/swapped}}\n", encoding="utf-8")
    code, said = project.run("--dry-run", "all", overlays=(*OVERLAYS, "swap.yaml"))
    assert code == 0, said[-4000:]
    jobs = Project.jobs(said)
    assert {f"train_sft {MODEL}", f"infer_sweep {MODEL}", "infer_answer 135m"} <= jobs
    assert not {job for job in jobs if job.split("_")[0] in ("pools", "select", "screen", "distill")}
