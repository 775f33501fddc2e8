"""Training an adapter for real, on a tiny model: it learns, is merged exactly, goes on after a kill, and says what does
not fit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from m1.core.errors import UserError
from m1.core.records import Sample, read
from m1.train import checkpoints, lora
from m1.train.settings import SftSettings, TrainRuntime
from m1.train.sft import encode_all
from patience import PATIENCE
from random_model import random_model
from safetensors.torch import load_file
from shared import made_once
from training import LORA, ROOT, RUNTIME, SETTINGS, STEPS, command, environment, start, train, wait_for_a_step, weights
from transformers import AutoModelForCausalLM, AutoTokenizer

RANK = LORA["lora"]["r"]
SHAPES = {"q_proj": (32, 32), "k_proj": (32, 16), "v_proj": (32, 16), "o_proj": (32, 32)} | {
    "gate_proj": (32, 64), "up_proj": (32, 64), "down_proj": (64, 32),
}  # fmt: skip
"""Inputs and outputs of the linear layers of :func:`random_model`, which has two of each."""


def changed(**lora: Any) -> dict[str, Any]:
    return LORA | {"lora": LORA["lora"] | lora}


def settings(**lora: Any) -> SftSettings:
    return SftSettings.from_parts(SETTINGS, changed(**lora))


@pytest.fixture(scope="session")
def adapted(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that an undisturbed run in one process gives."""

    def make(folder: Path) -> None:
        said = train(material, folder, sft=LORA)
        assert "sdpa attention, LoRA (" in said

    return made_once(tmp_path_factory, "adapted", make)


def test_a_recipe_without_an_adapter_has_the_settings_that_it_had_before_there_was_one() -> None:
    """The param of the step and the key in the store: whoever has trained models must not train them again."""
    assert SftSettings(**SETTINGS).to_json() == json.dumps(SETTINGS, sort_keys=True)
    assert SftSettings.from_parts(SETTINGS, {"lora": None}).to_json() == json.dumps(SETTINGS, sort_keys=True)
    assert SftSettings(**SETTINGS).decided() == SETTINGS
    found = json.loads(settings().to_json())
    assert found["lora"] == LORA["lora"]
    assert SftSettings.from_json(settings().to_json()) == settings()


def test_parameters_are_counted_before_any_weight_is_read(tmp_path: Path) -> None:
    base = random_model(tmp_path / "base")
    (base / "model.safetensors").unlink()
    whole = 2 * RANK * sum(map(sum, SHAPES.values()))
    assert lora.trained_parameters(base, settings().lora) == whole  # type: ignore[arg-type]
    some = settings(targets=("q_proj", "self_attn.v_proj"), r=3).lora
    assert some
    assert lora.trained_parameters(base, some) == 2 * 3 * (32 + 32 + 32 + 16)


@pytest.mark.parametrize("name", ["query", "lm_head", "proj", "embed_tokens"])
def test_a_layer_that_the_base_lacks_is_named_with_those_that_it_has(name: str, tmp_path: Path) -> None:
    wanted = settings(targets=("q_proj", name)).lora
    assert wanted
    has = "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj"
    with pytest.raises(UserError, match=rf"sft.lora.targets: .*base has no linear layer '{name}'; it has {has} \("):
        lora.trained_parameters(random_model(tmp_path / "base"), wanted)


def test_what_cannot_be_trained_so_is_refused_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shared = TrainRuntime(**RUNTIME | {"processes": 2, "strategy": "fsdp2"})
    lora.check(settings(), shared)  # one process shares nothing out
    monkeypatch.setenv("WORLD_SIZE", "2")
    lora.check(settings(), TrainRuntime(**RUNTIME | {"processes": 2}))
    lora.check(SftSettings(**SETTINGS), shared)
    with pytest.raises(UserError, match=r"train.strategy: fsdp2 shares out the weights.*use ddp"):
        lora.check(settings(), shared)
    with pytest.raises(UserError, match=r"sft.lora.base_dtype: bfloat16 with sft.bf16 false.*set sft.bf16 to true"):
        lora.check(settings(base_dtype="bfloat16"), TrainRuntime(**RUNTIME))


def trained_here(material: Path, scratch: Path, chosen: SftSettings) -> tuple[Any, Any]:
    """A trainer of this process, at its end, and the base's tokenizer."""
    from m1.train import trainer as training

    tokenizer = AutoTokenizer.from_pretrained(material / "base")
    samples = read(material / "m1k.parquet", Sample)
    examples = encode_all(tokenizer, samples, chosen.block_size, 0, material).examples
    scratch.mkdir()
    runtime = TrainRuntime(**RUNTIME | {"save_steps": None})
    return training.train(material / "base", tokenizer, examples, chosen, runtime, scratch, "train tiny")[0], tokenizer


@pytest.mark.train
def test_the_merged_model_answers_as_base_and_adapter_do(material: Path, tmp_path: Path) -> None:
    from m1.train import trainer as training

    trainer, tokenizer = trained_here(material, tmp_path / "scratch", settings())
    ids = tokenizer("Which of the 3? so we go on to the next one and stop", return_tensors="pt")["input_ids"]
    apart = trainer.model.eval()
    with torch.no_grad():
        with apart.disable_adapter():
            before = apart(ids).logits
        adapted = apart(ids).logits.clone()
        lora.merge(trainer)
        state = training.weights(trainer, "float32")
        training.save(trainer, state, tmp_path / "model")
        found = AutoModelForCausalLM.from_pretrained(tmp_path / "model")(ids).logits
    assert (adapted - before).abs().max() > 0.1, "else nothing was learned that could be merged"
    assert (found - adapted).abs().max() < 1e-5 * adapted.abs().max()


@pytest.mark.train
def test_a_base_in_bfloat16_is_frozen_and_the_adapter_in_float32(material: Path, tmp_path: Path) -> None:
    from m1.train import trainer as training

    chosen = SftSettings.from_parts(SETTINGS, changed(base_dtype="bfloat16"), {"bf16": True, "epochs": 1})
    trainer = trained_here(material, tmp_path / "scratch", chosen)[0]
    types = {(weights.dtype, weights.requires_grad) for weights in trainer.model.parameters()}
    assert types == {(torch.bfloat16, False), (torch.float32, True)}
    lora.merge(trainer)
    base, found = load_file(material / "base/model.safetensors"), training.weights(trainer, "bfloat16")
    assert {tensor.dtype for tensor in found.values()} == {torch.bfloat16}
    apart = [name for name, tensor in base.items() if not torch.equal(tensor.bfloat16(), found[name])]
    assert sorted({name.split(".")[-2] for name in apart}) == sorted(SHAPES), "the linear layers, and no other"


@pytest.mark.train
@pytest.mark.slow
def test_the_loss_falls_and_the_model_is_plain(material: Path, adapted: Path, undisturbed: Path) -> None:
    log = [line["loss"] for line in checkpoints.losses(adapted / "log.jsonl")]
    assert len(log) == STEPS
    assert sum(log[-3:]) < 0.8 * sum(log[:3])
    plain = {path.name for path in undisturbed.iterdir()}
    assert {path.name for path in adapted.iterdir()} == plain, "nothing downstream sees an adapter"
    assert (adapted / "config.json").read_text() == (undisturbed / "config.json").read_text()
    base, full, found = (load_file(f / "model.safetensors") for f in (material / "base", undisturbed, adapted))
    assert {name: (t.shape, t.dtype) for name, t in found.items()} == {n: (t.shape, t.dtype) for n, t in full.items()}
    assert torch.equal(base["model.embed_tokens.weight"], found["model.embed_tokens.weight"]), "what has no adapter"
    manifest = json.loads((adapted / "manifest.json").read_text())
    assert manifest["settings"]["lora"] == LORA["lora"]
    assert manifest["ran"]["trained"] == 2 * RANK * sum(map(sum, SHAPES.values()))
    assert "lora" not in json.loads((undisturbed / "manifest.json").read_text())["settings"]


@pytest.mark.train
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_it_goes_on_to_the_same_bytes_from_checkpoints_of_the_adapter_alone(
    how: signal.Signals, material: Path, adapted: Path
) -> None:
    """With dropout, whose random state is a part of a checkpoint."""
    output = material / f"lora-{how.name}"
    steps = 2 if how == signal.SIGKILL else None
    process = start(material, output, sft=LORA, save_steps=steps)
    wait_for_a_step(Path(f"{output}.scratch"), 11, process)
    os.killpg(process.pid, how)
    process.communicate()
    assert process.returncode != 0
    kept = checkpoints.latest(next(Path(f"{output}.scratch").glob("train/tiny/*")), "train tiny")
    assert kept is not None
    assert (kept / "adapter_model.safetensors").is_file()
    assert not (kept / "model.safetensors").exists()
    parameters = 2 * RANK * sum(map(sum, SHAPES.values()))
    large = sum((kept / name).stat().st_size for name in ("adapter_model.safetensors", "optimizer.pt"))
    assert 12 * parameters < large < 12 * parameters + 60_000, "weight and two moments of the adapter, and headers"
    train(material, output, sft=LORA, save_steps=steps)
    assert json.loads((output / "manifest.json").read_text())["ran"]["resumed"] >= 10
    assert weights(output) == weights(adapted)


@pytest.mark.train
@pytest.mark.slow
def test_two_processes_and_checkpointing_give_the_weights_of_one_process(material: Path) -> None:
    """Without dropout, which every process would draw for itself."""
    sure = changed(dropout=0)
    one, two, again = (material / f"lora-{name}" for name in ("one", "two", "again"))
    train(material, one, sft=sure)
    assert "DDP on CPU, 2 × 4 × 1 samples a step" in train(material, two, sft=sure, processes=2)
    train(material, again, sft=sure, gradient_checkpointing=True)
    assert weights(one) == weights(two) == weights(again)


@pytest.mark.train
@pytest.mark.slow
def test_another_base_is_trained_anew_and_what_was_trained_before_is_taken_from_the_store(
    material: Path, adapted: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    AutoTokenizer.from_pretrained(material / "base").save_pretrained(random_model(other / "base", rope_theta=5000.0))
    (other / "m1k.parquet").hardlink_to(material / "m1k.parquet")
    store = Path(f"{adapted}.store")
    assert "trained before" in train(material, tmp_path / "same", store, sft=LORA)
    assert "trained before" not in train(other, tmp_path / "swapped", store, sft=LORA)
    assert "trained before" not in train(material, tmp_path / "rank", store, sft=changed(r=2))
    assert weights(tmp_path / "same") == weights(adapted)
    assert len({weights(tmp_path / name) for name in ("same", "swapped", "rank")}) == 3


@pytest.mark.train
@pytest.mark.slow
@pytest.mark.parametrize(
    ("sft", "runtime", "message"),
    [
        (changed(targets=["query"]), {}, "no linear layer 'query'; it has q_proj, k_proj, v_proj, o_proj, gate_proj"),
        (LORA, {"processes": 2, "strategy": "fsdp2"}, "train.strategy: fsdp2 shares out the weights"),
    ],
)
def test_the_step_says_it_in_one_line(sft: Any, runtime: Any, message: str, material: Path, tmp_path: Path) -> None:
    words = command(material, tmp_path / "model", sft=sft, **runtime)
    done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode != 0
    assert message in done.stdout
    assert not (tmp_path / "model").exists()
    if not runtime:
        assert "Traceback" not in done.stderr
