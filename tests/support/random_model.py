"""A random model, for the tests of engines and of what generates with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

STOP = tuple(range(0, 900, 23))
"""Stop tokens so frequent that a random model meets one sooner or later."""


def random_model(folder: Path, **more: Any) -> Path:
    """A random model of Qwen2's architecture, 900 tokens, 512 positions."""
    torch.manual_seed(1)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    config = Qwen2Config(
        vocab_size=900, max_position_embeddings=512, initializer_range=0.3, tie_word_embeddings=True,
        architectures=["Qwen2ForCausalLM"],
        **sizes, **more,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder
