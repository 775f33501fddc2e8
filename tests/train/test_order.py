"""The order of samples: which a step has, how they are cut into micro-batches, and what processes wait for."""

from __future__ import annotations

import hashlib
import json
import random
import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from benchmark_scripts import load
from hypothesis import given
from hypothesis import strategies as st
from m1.core.errors import UserError
from m1.core.progress import Progress
from m1.train.balance import balance
from m1.train.checkpoints import losses
from m1.train.trainer import BatchSampler, CheckpointCallback, LossLogger, runs_without_padding
from transformers import AutoConfig, AutoModelForCausalLM
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

benchmark = load("balance")
LENGTHS = st.lists(st.integers(2, 99), min_size=1, max_size=70)


@given(LENGTHS, st.sampled_from([(1, 1), (4, 2), (16, 1), (16, 4), (16, 16)]), st.booleans(), st.booleans())
def test_an_epoch_has_every_sample_once_and_whole_batches(
    lengths: list[int], cut: tuple[int, int], grouped: bool, balanced: bool
) -> None:
    batch, parts = cut
    order = BatchSampler(lengths, batch, 42, grouped, parts, balanced)
    order.set_epoch(2)
    found = list(order)
    assert len(found) == len(order) == order.steps * parts
    assert all(found), "every process has something to run"
    samples = [index for part in found for index in part]
    assert len(samples) % batch == 0
    assert sorted(samples) == list(range(len(samples)))
    filling = set(range(len(lengths), len(samples)))
    assert {index for part in found[-parts:] for index in part} >= filling, "empty examples fill up the last batch"


@pytest.mark.parametrize("grouped", [False, True])
@given(LENGTHS)
def test_a_step_is_the_same_samples_however_it_is_cut_and_dealt(grouped: bool, lengths: list[int]) -> None:
    steps = [set(batch) for batch in BatchSampler(lengths, 16, 42, grouped).batches()]
    for parts, balanced in ((1, False), (8, False), (8, True), (16, True)):
        order = BatchSampler(lengths, 16, 42, grouped, parts, balanced)
        for processes in (1, 2, 8):
            if parts % processes == 0:
                dealt = [list(BatchSamplerShard(cast(Any, order), processes, rank)) for rank in range(processes)]
                each = parts // processes
                found = [
                    {index for share in dealt for part in share[step * each : (step + 1) * each] for index in part}
                    for step in range(order.steps)
                ]
                assert found == steps


@pytest.mark.parametrize(
    ("grouped", "epoch", "digest"),
    [
        (False, 0, "f3bdf6b6d95fd939"),
        (False, 3, "3d0c1c81ab67efcd"),
        (True, 0, "e2ad6a9456f62bf2"),
        (True, 3, "dff9b99012cf0fd8"),
    ],
)
def test_padded_samples_run_in_the_order_of_earlier_versions(grouped: bool, epoch: int, digest: str) -> None:
    """So a training on a CPU has the losses, to the last bit, that it had before micro-batches were balanced."""
    rng = random.Random(7)
    order = BatchSampler([rng.randint(20, 400) for _ in range(100)], 16, 42, grouped, parts=4)
    order.set_epoch(epoch)
    parts = list(order)
    assert {len(part) for part in parts} == {4}
    flat = json.dumps([index for part in parts for index in part])
    assert hashlib.sha256(flat.encode()).hexdigest()[:16] == digest


@given(st.lists(st.integers(1, 9000), min_size=16, max_size=16), st.sampled_from([1, 2, 4, 8, 16]))
def test_parts_have_like_numbers_of_tokens_those_with_most_first(lengths: list[int], parts: int) -> None:
    shares = balance(lengths, parts)
    assert sorted(place for share in shares for place in share) == list(range(16))
    tokens = [sum(lengths[place] for place in share) for share in shares]
    assert tokens == sorted(tokens, reverse=True)
    # The last sample of the fullest part came to what was the emptiest one, which had no more than the mean.
    assert tokens[0] <= max(max(lengths), sum(lengths) / parts + sorted(lengths, reverse=True)[parts % 16])


@pytest.mark.parametrize(("spread", "least", "shipped"), [(0.68, 0.62, 0.36), (0.5, 0.74, 0.45)])
def test_the_share_of_work_that_eight_processes_use(spread: float, least: float, shipped: float) -> None:
    lengths = benchmark.made(spread, 8000)
    assert benchmark.share_used(lengths, 8, 2, balanced=False) == pytest.approx(shipped, abs=0.02)
    assert benchmark.share_used(lengths, 8, 2, balanced=True) >= least


def test_the_benchmark_prints_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark.main(["--samples", "320"])
    assert capsys.readouterr().out.count("\n| 0.68 |") == 3


@pytest.mark.parametrize(
    ("attention", "on_gpu", "rows"),
    [
        ("sdpa", True, True),
        ("sdpa", False, False),
        ("flash_attention_2", True, True),
        ("eager", True, False),
    ],
)
def test_rows_without_padding_are_for_attentions_that_keep_samples_apart(
    attention: str, on_gpu: bool, rows: bool
) -> None:
    assert runs_without_padding(attention, on_gpu) is rows


@pytest.mark.parametrize(
    ("step", "asked", "saves", "stops"),
    [(3, False, False, False), (3, True, True, True), (8, False, True, False), (8, True, True, False)],
)
def test_the_last_step_is_kept_and_never_stopped_at(step: int, asked: bool, saves: bool, stops: bool) -> None:
    callback, control = CheckpointCallback(30, None), SimpleNamespace(should_save=False, should_training_stop=False)
    callback.stop_asked = asked
    callback.on_step_end(None, SimpleNamespace(global_step=step, max_steps=8), control)
    assert (control.should_save, control.should_training_stop, callback.stopped_at) == (
        saves,
        stops,
        step if stops else None,
    )


def test_a_full_disk_leaves_the_losses_of_a_training_that_goes_on(tmp_path: Path) -> None:
    """The limit of a file's size ends the write midway, as a full disk or a kill does."""
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps({"step": step, "loss": 1.5}) + "\n" for step in range(100)))
    before, limit = log.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    callback = LossLogger(Progress("train m", 200, "steps"), log)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limit[1]))
    try:
        with pytest.raises((UserError, OSError)):
            callback.on_train_begin(None, SimpleNamespace(global_step=99), None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert log.read_bytes() == before
    callback.on_train_begin(None, SimpleNamespace(global_step=50), None)
    assert [line["step"] for line in losses(log)] == list(range(51))


@pytest.mark.train
@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama", "mistral", "gemma"])
def test_samples_of_a_row_do_not_see_each_other(family: str) -> None:
    """By PyTorch's own attention, in every family whose template is known: as trl's collator makes a row."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape = AutoConfig.for_model(family, vocab_size=50, num_key_value_heads=1, head_dim=16, **sizes)
    model: Any = AutoModelForCausalLM.from_config(shape, attn_implementation="sdpa")
    samples = [{"input_ids": ids, "labels": ids} for ids in ([5, 6, 7, 8, 9, 10], [11, 12, 13], [7, 7, 7, 7])]
    row = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)(samples)
    del row["labels"]
    with torch.no_grad():
        together = model(**row, use_cache=False).logits[0]
        alone = [model(torch.tensor([sample["input_ids"]]), use_cache=False).logits[0] for sample in samples]
    torch.testing.assert_close(together, torch.cat(alone))
