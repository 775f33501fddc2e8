"""Cut equals direct on the models that the short run has trained: all its questions, every budget and forced count, in
fp32."""

from __future__ import annotations

import json
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
from m1.infer.settings import SweepSettings
from m1.infer.sweep import SweepTokens, prompt_ids, sweep
from project import REPOSITORY, SHORT, Project
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
    ("name", "times"), [("m1-small-1k", 1), ("m1-small-1k", 4), ("m1-large-1k", 1), ("m1-large-1k", 2)]
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
    markers, prompts = SweepTokens.from_tokenizer(tokenizer), prompt_ids(tokenizer, asked)
    if times > 1:
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.no_grad():
            model.get_output_embeddings().weight[list(markers.stop)] *= times
        model.save_pretrained(folder)

    wanted = SweepSettings.from_json(json.dumps({**DEMO, "forced": [*DEMO["forced"], "full"]}))
    with Store(tmp_path / "store") as store:
        engine = Recording(lambda: TransformersEngine(folder, "float32", batch=128), name, store, name)
        sweep(engine, tokenizer, asked, name, wanted)
    direct = anew(TransformersEngine(folder, "float32", batch=13), prompts, markers, wanted)
    assert engine.answers == [direct[stage][i][:2] for i in range(QUESTIONS) for stage in wanted.conditions]
    requests = {stage: [request for request, _, _ in rows] for stage, rows in direct.items()}
    assert requests[16, 0] != requests[192, 0] or requests[192, 0] != requests[192, 4], "or this tests little"
    assert times == 1 or requests[192, 0] != requests[192, 1] != requests[192, 192], "or forcing is not tested"


@pytest.mark.parametrize("name", NAMES)
def test_what_the_run_has_written_is_what_each_setting_anew_gives(finished: Project, name: str) -> None:
    folder = finished.path(f"results/short/train/{name}")
    tokenizer, asked = AutoTokenizer.from_pretrained(folder), questions(finished)
    markers, prompts = SweepTokens.from_tokenizer(tokenizer), prompt_ids(tokenizer, asked)
    settings = SweepSettings.from_json(json.dumps({**DEMO, **thinking(finished.path(SHORT))}))
    predictions = read(finished.path(f"results/short/infer/{name}/predictions.parquet"), Prediction)
    found = {(p.benchmark, p.question_id, p.budget, p.forced): p for p in predictions}
    assert len(found) == len(predictions) == QUESTIONS * len(settings.conditions)
    for stage, rows in anew(TransformersEngine(folder, "float32", batch=13), prompts, markers, settings).items():
        for (benchmark, question), prompt, (request, generation, _) in zip(asked, prompts, rows):
            framed = request.prompt[len(prompt) + len(markers.think) :]
            ended = framed[-len(markers.final_answer) :] != markers.final_answer
            tokens = len(framed) - len(markers.answer if ended else markers.final_answer)
            text = tokenizer.decode(generation.token_ids, skip_special_tokens=True)
            expected = Prediction(question.id, benchmark, name, *stage, tokens, ended, text, generation.tokens)
            assert found[benchmark, question.id, *stage] == expected
