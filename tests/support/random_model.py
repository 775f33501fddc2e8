"""A random model, for the tests of engines and of what generates with them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from m1.infer.frames import make_frames
from m1.infer.settings import SweepSettings
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

STOP = tuple(range(0, 900, 23))
"""Stop tokens so frequent that a random model meets one sooner or later."""


def random_model(folder: Path, positions: int = 512, **more: Any) -> Path:
    """Make a random model of Qwen2's architecture with 900 tokens."""
    torch.manual_seed(1)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    config = Qwen2Config(
        vocab_size=900, max_position_embeddings=positions, initializer_range=0.3, tie_word_embeddings=True,
        architectures=["Qwen2ForCausalLM"],
        **sizes, **more,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


def ending_model(folder: Path, tokenizer: Path, vocabulary: int = 900, more_ends: tuple[int, ...] = ()) -> Path:
    """A random model with a tokenizer, whose thinking ends by itself now and then: the rows of the tokens that end it,
    and of ``more_ends``, are longer."""
    shutil.copytree(tokenizer, folder)
    torch.manual_seed(2)
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=1024,
        initializer_range=0.3,
        tie_word_embeddings=True,
    )
    made: Any = Qwen2ForCausalLM(config)
    stop = make_frames(AutoTokenizer.from_pretrained(folder), sweep_settings()).stop
    with torch.no_grad():
        made.get_input_embeddings().weight[[*stop, *more_ends]] *= 1.5
    made.save_pretrained(folder)
    return folder


def sweep_settings(**more: Any) -> SweepSettings:
    """Make the settings of a sweep; all of ``generation`` is exact by default."""
    exact = dict.fromkeys(("bos", "seam", "limit", "forcing", "scored"), "exact")
    small = {"budgets": [8], "forced": [], "forced_budget": 8, "answer_limit": 4, "prompt": "thinking"}
    small["too_long"] = "error"
    return SweepSettings.from_parts(small, exact, more)
