"""Cut equals direct on the models that the short run has trained: all its questions, every budget and forced count, in
fp32."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from anew import Recording, anew
from m1.core.records import Prediction, Question, read
from m1.core.store import Store
from m1.engines.cached import TransformersEngine
from m1.infer.frames import make_frames
from m1.infer.sweep import render
from project import REPOSITORY, SHORT, Project
from random_model import sweep_settings
from sweeps import swept
from transformers import AutoModelForCausalLM, AutoTokenizer

pytestmark = [pytest.mark.workflow, pytest.mark.train]

QUESTIONS = 24
NAMES = ("m1-small-1k", "m1-large-1k")


def thinking(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))["thinking"]


DEMO = thinking(REPOSITORY / "config/config.yaml")


def questions(finished: Project) -> list[tuple[str, Question]]:
    """Benchmark and question of all."""
    paths = sorted(finished.path("results/short/benchmarks").glob("*.parquet"))
    asked = [(path.stem, question) for path in paths for question in read(path, Question)]
    assert len(asked) == QUESTIONS
    return asked


@pytest.mark.parametrize(
    ("name", "times"),
    [
        pytest.param("m1-small-1k", 1, marks=pytest.mark.slow),
        ("m1-small-1k", 4),
        pytest.param("m1-large-1k", 1, marks=pytest.mark.slow),
        ("m1-large-1k", 2),
    ],
)
def test_one_thinking_gives_what_each_setting_anew_gives(
    finished: Project, name: str, times: int, tmp_path: Path
) -> None:
    """The demo's settings, and forcing until the budget is used up, token by token.

    After so short a training thinking does not end by itself, so that nothing is forced: hence also a copy of the model
    whose row of weights for the end token is ``times`` as long.
    """
    folder = shutil.copytree(finished.path(f"results/short/train/{name}"), tmp_path / "model")
    tokenizer, asked = AutoTokenizer.from_pretrained(folder), questions(finished)
    wanted = sweep_settings(**DEMO | {"forced": [*DEMO["forced"], "full"]})
    frames, prompts = make_frames(tokenizer, wanted), render(tokenizer, [question for _, question in asked], "thinking")
    if times > 1:
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.no_grad():
            model.get_output_embeddings().weight[list(frames.stop)] *= times
        model.save_pretrained(folder)

    with Store(tmp_path / "store") as store:
        engine = Recording(lambda: TransformersEngine(folder, "float32", batch=128), name, store, name)
        predictions = swept(engine, tokenizer, asked, name, wanted).predictions
    direct = anew(TransformersEngine(folder, "float32", batch=13), prompts, frames)
    engine.check(direct, frames, predictions)
    requests = {stage: [row.request for row in rows] for stage, rows in direct.items()}
    assert requests[16, 0] != requests[192, 0] or requests[192, 0] != requests[192, 4], "or this tests little"
    assert times == 1 or requests[192, 0] != requests[192, 1] != requests[192, 192], "or forcing is not tested"


@pytest.mark.parametrize("name", NAMES)
def test_what_the_run_has_written_is_what_each_setting_anew_gives(finished: Project, name: str) -> None:
    folder = finished.path(f"results/short/train/{name}")
    tokenizer, asked = AutoTokenizer.from_pretrained(folder), questions(finished)
    settings = sweep_settings(**DEMO | thinking(finished.path(SHORT)), prompt="thinking_bare")
    frames = make_frames(tokenizer, settings)
    prompts = render(tokenizer, [question for _, question in asked], settings.prompt)
    predictions = read(finished.path(f"results/short/infer/{name}/predictions.parquet"), Prediction)
    found = {(p.benchmark, p.question_id, p.budget, p.forced): p for p in predictions}
    assert len(found) == len(predictions) == QUESTIONS * len(settings.conditions)
    for stage, rows in anew(TransformersEngine(folder, "float32", batch=13), prompts, frames).items():
        for (benchmark, question), row in zip(asked, rows):
            text, tokens = frames.decode(row.answer.token_ids), row.answer.tokens
            expected = Prediction(question.id, benchmark, name, *stage, len(row.thinking), row.ended, text, tokens)
            assert found[benchmark, question.id, *stage] == expected
