"""What a layer keeps for its backward pass: the figure in the memory of docs/architecture.md that is counted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer, Qwen2RotaryEmbedding

pytestmark = pytest.mark.train
TOKENS = 64


def formula(width: int, inner: int, keys: int) -> int:
    """Bytes a token in bf16: four tensors of the MLP's width, eight of the model's (two of them in float32), keys and
    values."""
    return 8 * inner + 20 * width + 4 * keys


def counted(width: int, inner: int, heads: int, keys: int) -> float:
    """Bytes a token that autograd keeps in one layer of Qwen2, beside its weights."""
    size = width // heads
    shape = Qwen2Config(
        hidden_size=width, intermediate_size=inner, num_attention_heads=heads, num_key_value_heads=keys // size
    )
    shape._attn_implementation = "sdpa"
    layer = Qwen2DecoderLayer(shape, 0).to(torch.bfloat16)
    inputs = torch.randn(1, TOKENS, width, dtype=torch.bfloat16, requires_grad=True)
    positions = torch.arange(TOKENS)[None]
    weights = {weight.untyped_storage().data_ptr() for weight in layer.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(inputs, position_ids=positions, position_embeddings=Qwen2RotaryEmbedding(shape)(inputs, positions))
    sizes = {place: tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights}
    return sum(sizes.values()) / TOKENS


def test_what_is_kept_for_the_backward_pass_grows_as_documented() -> None:
    for width, inner, heads, keys in ((128, 512, 4, 64), (256, 1024, 4, 64), (256, 2048, 8, 128)):
        small = 4 * heads + 8 + 4 * width // heads  # sums of the softmax, of the norms, and the turns of positions
        assert counted(width, inner, heads, keys) == formula(width, inner, keys) + small


def test_the_page_has_the_figure_of_qwens_7b() -> None:
    page = (Path(__file__).parents[2] / "docs/architecture.md").read_text(encoding="utf-8")
    assert f"{formula(3584, 18944, 512) / 1e3:.0f} KB a token and layer" in page
    assert f"{28 * formula(3584, 18944, 512) / 1e6:.1f} MB a token" in page
