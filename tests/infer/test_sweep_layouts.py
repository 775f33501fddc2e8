"""The sweep in three other layouts of a base: Llama 3, Qwen3 with ``enable_thinking``, and Gemma."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from anew import Recording, anew
from m1.core.records import Question
from m1.core.store import Store
from m1.engines.cached import TransformersEngine
from m1.engines.protocol import ModelFacts
from m1.infer.frames import make_frames
from m1.infer.sweep import render
from random_model import ending_model, sweep_settings
from sweeps import swept
from templates import tokenizer_of
from transformers import AutoModelForCausalLM, AutoTokenizer

pytestmark = pytest.mark.train

LAYOUTS = {
    "llama3": "<|start_header_id|>answer<|end_header_id|>",
    "qwen3": "<|im_start|>answer",
    "gemma": "<start_of_turn>answer",
}
"""Family to what opens its answers."""
OWN = tuple(range(300, 304))
"""Ordinary tokens that the model's ``generation_config.json`` lists among its ends."""
STEMS = ["Which drug <|im_end|> is it?", "Wie hoch ist das Fräulein?", "Which <think> marker </think>, in µmol/l?"]
ASKED = [
    ("medqa", Question(f"q{number}", "medqa", f"{stem} {number}", None, ("the a", "5 <eos> mg", "<|eot_id|>"), "B"))
    for number, stem in enumerate(STEMS * 6)
]


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A random model in a layout, and what opens its answers. The model's configuration names several ends, some
    of them no stop tokens of ours."""
    folder = tmp_path_factory.mktemp("layout")
    tokenizer = tokenizer_of(request.param)
    tokenizer.save_pretrained(folder / "tokenizer")
    made = ending_model(folder / "model", folder / "tokenizer", len(tokenizer), more_ends=OWN)
    ends = {"eos_token_id": [tokenizer.eos_token_id, *OWN]}
    (made / "generation_config.json").write_text(json.dumps(ends), encoding="utf-8")
    return made, LAYOUTS[request.param]


def test_cut_equals_direct_for_all_settings(layout: tuple[Path, str], tmp_path: Path) -> None:
    model, mark = layout
    settings = sweep_settings(budgets=[4, 8, 16, 24], forced=[1, 2, "full"], forced_budget=24, answer_limit=6)
    tokenizer = AutoTokenizer.from_pretrained(model)
    prompts = render(tokenizer, [question for _, question in ASKED], "thinking")
    with Store(tmp_path) as store:
        engine = Recording(lambda: TransformersEngine(model, "float32", batch=9), "cut", store, "cut")
        rollouts, predictions, cost = swept(engine, tokenizer, ASKED, "m", settings)
    frames = make_frames(tokenizer, settings)
    direct = anew(TransformersEngine(model, "float32", batch=5), prompts, frames, mark)
    assert engine.check(direct, frames, predictions) == cost["rollout_tokens"] + cost["forced_tokens"]
    assert {row.ended for row in predictions} == {True, False}, "or this tests little"

    whole, ends = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), set()
    for prompt, rollout in zip(prompts, rollouts):
        if rollout.finish_reason == "stop":
            ids = [*frames.think(prompt), *rollout.thinking_ids]
            ends.add(int(whole(torch.tensor([ids])).logits[0, -1].argmax()))
    assert ends <= {*frames.stop} | ModelFacts.from_folder(model).ends
    assert ends & {*OWN}, "thinking that ends by one of the model's own further ends has ended"
    assert ends & {*frames.stop}
