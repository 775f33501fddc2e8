"""The arithmetic of benchmarks/train.py, against numbers that are known from elsewhere."""

from __future__ import annotations

import pytest
from benchmark_scripts import load
from m1.train.text import IGNORED

benchmark = load("train")


def parameters(shape: dict[str, int]) -> int:
    """Of a Qwen2 model, counted by hand."""
    width, kept = (
        shape["hidden_size"],
        shape["hidden_size"] // shape["num_attention_heads"] * shape["num_key_value_heads"],
    )
    attention = 2 * width * width + 2 * width * kept + width + 2 * kept  # q, o; k, v; biases of q, k, v
    layer = attention + 3 * width * shape["intermediate_size"] + 2 * width
    return (
        shape["num_hidden_layers"] * layer
        + width
        + shape["vocab_size"] * width * (1 if shape["tie_word_embeddings"] else 2)
    )


def test_the_shape_is_qwens() -> None:
    assert parameters(benchmark.SHAPES["qwen2.5-7b"]) == 7_615_616_512  # as its weights on the hub are counted


def test_flops_of_a_token_grow_with_the_sample_by_attention_only() -> None:
    short, long = (benchmark.model_flops(7_000, 28, 64, [length]) / length for length in (10, 30))
    assert short == 6 * 7_000 + 12 * 28 * 64 * 10
    assert long - short == 12 * 28 * 64 * 20
    assert benchmark.model_flops(7_000, 28, 64, [10, 30]) == 10 * short + 30 * long


@pytest.mark.train
def test_flops_are_three_times_those_of_a_forward_pass_counted_by_torch() -> None:
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import Qwen2Config, Qwen2ForCausalLM

    shape, length = benchmark.SHAPES["tiny"], 200
    model = Qwen2ForCausalLM._from_config(Qwen2Config(**shape), attn_implementation="eager")
    with FlopCounterMode(display=False) as counter:
        model(torch.ones(1, length, dtype=torch.long))
    size, layers, width = sum(p.numel() for p in model.parameters()), shape["num_hidden_layers"], shape["hidden_size"]
    assert benchmark.model_flops(size, layers, width, [length]) == pytest.approx(
        3 * counter.get_total_flops(), rel=0.01
    )


def test_a_depth_is_on_the_line_through_the_two_deepest() -> None:
    assert benchmark.extrapolated({14: 1.0 + 14 * 0.5, 7: 1.0 + 7 * 0.5, 1: 99.0}, 28) == pytest.approx(1.0 + 28 * 0.5)


def test_hours_are_those_of_five_epochs() -> None:
    assert benchmark.hours(tokens_per_second=23_493 * 5, mean=7_200) == pytest.approx(2.0)


def test_samples_have_the_length_asked_for_and_are_the_same_every_time() -> None:
    samples = benchmark.made(2_000, 142, 0.22, 500)
    assert samples == benchmark.made(2_000, 142, 0.22, 500)
    lengths = [len(sample["input_ids"]) for sample in samples]
    assert sum(lengths) / len(lengths) == pytest.approx(142, rel=0.02)
    assert all(sample["labels"] == [IGNORED] * 47 + sample["input_ids"][47:] for sample in samples)
    assert {token for sample in samples for token in sample["input_ids"]} <= set(range(3, 500))
