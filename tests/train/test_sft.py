"""Training for real, on a tiny model: killed and resumed, in two processes, cut, and short of space."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from m1.core.chat import TurnTokens
from m1.core.errors import UserError
from m1.core.files import identity_file, model_identity, sha256_file
from m1.core.records import Prediction, Question, Sample, read, write
from m1.infer.sweep import main as sweep
from m1.train import archive, checkpoints
from m1.train.settings import training_folder
from m1.train.sft import encode_all
from m1.train.text import encode
from m1.train.trainer import divide_batch
from patience import PATIENCE
from random_model import sweep_settings
from templates import tokenizer_of
from training import ROOT, STEPS, as_on_gpus, command, environment, samples, start, train, wait_for_a_step, weights
from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM


@pytest.mark.train
@pytest.mark.slow
def test_killed_three_times_the_weights_are_those_of_an_undisturbed_run(material: Path, undisturbed: Path) -> None:
    output, rng, resumed = material / "killed", random.Random(), []
    for least, most in ((2, 7), (9, 14), (16, 22)):
        process = start(material, output)
        wait_for_a_step(Path(f"{output}.scratch"), rng.randint(least, most), process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        kept = checkpoints.latest(next(Path(f"{output}.scratch").glob("train/tiny/*")), "train tiny")
        resumed.append(int(kept.name.rpartition("-")[2]) if kept else 0)
    assert not output.exists()
    said = train(material, output)
    assert weights(output) == weights(undisturbed), resumed
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["ran"]["resumed"] == resumed[-1] >= 14
    assert f"{STEPS}/{STEPS} steps" in said
    log = [line["step"] for line in checkpoints.losses(output / "log.jsonl")]
    assert log == list(range(1, STEPS + 1)), "every step is logged once"
    assert (output / "log.jsonl").read_bytes() == (undisturbed / "log.jsonl").read_bytes()
    assert (output / "loss.png").stat().st_size > 1000
    assert not list(Path(f"{output}.scratch").rglob("checkpoint-*")), "what is finished needs no checkpoint"


@pytest.mark.train
@pytest.mark.slow
@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt"])
def test_a_training_does_not_go_on_from_a_damaged_checkpoint(file: str, material: Path, undisturbed: Path) -> None:
    output = material / f"damaged-{file}"
    process = start(material, output)
    wait_for_a_step(Path(f"{output}.scratch"), 9, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    [damaged] = Path(f"{output}.scratch").glob(f"train/tiny/*/checkpoint-*/{file}")
    with open(damaged, "r+b") as stream:
        stream.seek(damaged.stat().st_size // 2)
        stream.write(os.urandom(64))
    said = train(material, output)
    assert f"{damaged.parent}: {file} is not what was written, so training does not go on from there" in said
    assert json.loads((output / "manifest.json").read_text())["ran"]["resumed"] == 0
    assert weights(output) == weights(undisturbed)


@pytest.mark.train
@pytest.mark.slow
def test_killed_in_the_middle_of_a_later_epoch_two_processes_go_on_with_its_order(
    material: Path, undisturbed: Path
) -> None:
    output = material / "killed-two"
    process = start(material, output, processes=2, save_steps=11)
    wait_for_a_step(Path(f"{output}.scratch"), 12, process)
    for one in psutil.Process(process.pid).children(recursive=True):  # torchrun's are in sessions of their own
        one.kill()
    process.communicate()
    train(material, output, processes=2, save_steps=11)
    assert weights(output) == weights(undisturbed)
    assert json.loads((output / "manifest.json").read_text())["ran"]["resumed"] in {11, 22}, (
        "in the middle of the second epoch or third"
    )


@pytest.mark.train
@pytest.mark.slow
def test_asked_to_stop_it_keeps_its_state_and_goes_on(material: Path, undisturbed: Path) -> None:
    output = material / "stopped"
    process = start(material, output, save_steps=None)
    wait_for_a_step(Path(f"{output}.scratch"), 5, process)
    process.terminate()
    said = process.communicate()[0]
    assert process.returncode != 0
    assert "error: train tiny: asked to stop after step " in said
    assert f"of {STEPS}; kept in " in said
    kept = checkpoints.latest(next(Path(f"{output}.scratch").glob("train/tiny/*")), "train tiny")
    assert kept is not None
    train(material, output, save_steps=None)
    assert weights(output) == weights(undisturbed)


@pytest.mark.train
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
@pytest.mark.slow
def test_two_processes_give_the_weights_of_one_with_twice_the_accumulation(
    strategy: str, material: Path, undisturbed: Path
) -> None:
    output = material / f"two-{strategy}"
    said = train(material, output, processes=2, strategy=strategy)
    assert weights(output) == weights(undisturbed)
    assert "DDP on CPU, 2 × 4 × 1 samples a step" in said
    assert ("fsdp2 needs GPUs; on a CPU, DDP runs in its place" in said) == (strategy == "fsdp2")
    ran = json.loads((output / "manifest.json").read_text())["ran"]
    assert (ran["strategy"], ran["processes"], ran["runtime"]["strategy"]) == ("DDP", 2, strategy)


@pytest.mark.train
@pytest.mark.slow
def test_padded_micro_batches_are_those_that_trl_makes_of_the_order(
    material: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """As it was done before the sampler made them: the same losses, to the last bit."""
    process = as_on_gpus("flat", material, tmp_path / "flat", {})
    problems = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 0, problems
    assert weights(tmp_path / "flat") == weights(undisturbed)
    assert (tmp_path / "flat/log.jsonl").read_bytes() == (undisturbed / "log.jsonl").read_bytes()


@pytest.mark.train
@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_what_was_trained_before_is_taken_from_the_store(
    processes: int, material: Path, undisturbed: Path, tmp_path: Path
) -> None:
    store, output = Path(f"{undisturbed}.store"), tmp_path / "again"
    [kept] = [path for path in store.glob("train/tiny/*") if path.is_dir()]
    said = train(material, output, store, processes=processes)
    assert f"trained before, with the same base, samples, settings and code: taken from {kept}" in said
    assert " steps" not in said
    names = {"model.safetensors", "config.json", "tokenizer.json", "manifest.json", "log.jsonl"}
    assert names | {"loss.png"} <= {path.name for path in output.iterdir()}
    assert all((output / name).samefile(kept / name) for name in names), "it takes no space"
    assert identity_file(output).read_text() == identity_file(undisturbed).read_text()
    assert model_identity(output) == model_identity(undisturbed)
    assert not Path(f"{output}.scratch").exists()


def trains(process: subprocess.Popen[str]) -> int:
    """The process that has the locks of a training that was launched."""
    (trainer,) = psutil.Process(process.pid).children()
    return trainer.pid


@pytest.mark.train
@pytest.mark.slow
def test_a_second_training_in_one_scratch_folder_stops_and_names_the_first(material: Path, undisturbed: Path) -> None:
    output = material / "orphan"
    first = start(material, output)
    wait_for_a_step(Path(f"{output}.scratch"), 2, first)
    orphan = trains(first)
    os.kill(orphan, signal.SIGSTOP)
    first.kill()  # what waited for it is gone, as when Snakemake is killed
    done = subprocess.run(command(material, output), cwd=ROOT, env=environment(), capture_output=True, text=True)
    os.kill(orphan, signal.SIGCONT)
    assert done.returncode == 1
    assert f"error: train tiny: process {orphan} on {socket.gethostname()} since 20" in done.stdout
    [scratch] = Path(f"{output}.scratch").glob("train/tiny/*")
    assert f"is training in {scratch} already. Wait until it has ended, or end it; then run again" in done.stdout
    first.communicate()  # the orphan has its streams
    assert weights(output) == weights(undisturbed)
    assert "trained before" in train(material, output)


@pytest.mark.train
@pytest.mark.slow
@pytest.mark.parametrize("end", ["in the end", "by a kill"])
def test_two_folders_on_one_store_train_once(material: Path, undisturbed: Path, tmp_path: Path, end: str) -> None:
    store, outputs = tmp_path / "store", (tmp_path / "one", tmp_path / "two")
    first = start(material, outputs[0], store=store)
    wait_for_a_step(Path(f"{outputs[0]}.scratch"), 2, first)
    trainer = trains(first)
    os.kill(trainer, signal.SIGSTOP)
    second = start(material, outputs[1], store=store)
    assert second.stdout
    waits = next(line for line in second.stdout if "waiting" in line)
    assert f"[train tiny] process {trainer} on {socket.gethostname()} since 20" in waits
    assert f"is training the same for {store}/train/tiny; waiting for it" in waits
    os.kill(trainer, signal.SIGKILL if end == "by a kill" else signal.SIGCONT)
    first.communicate()
    said = second.communicate()[0]
    assert second.returncode == 0
    assert (" steps" in said) is (end == "by a kill")
    assert weights(outputs[1]) == weights(undisturbed)
    if end == "in the end":
        assert (outputs[0] / "model.safetensors").samefile(outputs[1] / "model.safetensors")
    [kept] = store.glob("train/tiny/*/")
    assert sorted(path.name for path in kept.parent.iterdir()) == [kept.name, f"{kept.name}.sha256"]


@pytest.mark.train
@pytest.mark.slow
def test_a_kept_model_that_was_changed_is_trained_again(material: Path, undisturbed: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(f"{undisturbed}.store", tmp_path / "store"))
    [changed] = store.glob("train/tiny/*/model.safetensors")
    changed.write_bytes(changed.read_bytes()[:-4] + b"\0\0\0\0")
    said = train(material, tmp_path / "model", store)
    assert f"{STEPS}/{STEPS} steps" in said
    assert weights(tmp_path / "model") == weights(undisturbed) == sha256_file(changed)


@pytest.mark.train
@pytest.mark.slow
def test_other_code_settings_and_samples_are_other_trainings(
    undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [kept] = [path for path in Path(f"{undisturbed}.store").glob("train/tiny/*") if path.is_dir()]
    archive.report_older(kept, "train tiny")
    assert not capsys.readouterr().err
    other = training_folder(
        Path(f"{undisturbed}.store"), "tiny", ["base", "template", "samples", {"learning_rate": 1}, "code"]
    )
    assert archive.identity(other, "train tiny") == ""
    archive.report_older(other, "train tiny")
    said = capsys.readouterr().err
    assert (
        f"{kept.parent} keeps 1 of its trainings with other settings, samples or code, 0.0 GB; "
        "delete what is not wanted" in said
    )


def test_other_settings_do_not_take_up_another_trainings_checkpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = (training_folder(tmp_path, "m", ["base", "data", {"learning_rate": rate}]) for rate in (1, 2))
    assert one != other
    (one / "checkpoint-3").mkdir(parents=True)
    checkpoints.report_older(other, "train m")
    assert f"{one} holds an unfinished training with other settings" in capsys.readouterr().err


def test_only_whole_checkpoints_count_and_one_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step in (8, 10, 12):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "model.safetensors").write_bytes(bytes(1000))
        if step < 12:
            checkpoints.write_mark(tmp_path / f"checkpoint-{step}")
    assert checkpoints.latest(tmp_path, "train m") == tmp_path / "checkpoint-10"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-10"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("file", ["optimizer/part-1.bin", checkpoints.MARK])
def test_a_damaged_checkpoint_is_named_and_not_gone_on_from(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoint-10/optimizer").mkdir(parents=True)
    (tmp_path / "checkpoint-10/optimizer/part-1.bin").write_bytes(bytes(1000))
    checkpoints.write_mark(tmp_path / "checkpoint-10")
    damaged = tmp_path / "checkpoint-10" / file
    damaged.write_bytes(damaged.read_bytes()[:-2] + b"\xff\xff")
    assert checkpoints.latest(tmp_path, "train m") is None
    said = f"[train m] {tmp_path}/checkpoint-10: {file} is not what was written, so training does not go on from there"
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_too_little_space_is_said_before_the_start(tmp_path: Path) -> None:
    places = tmp_path / "scratch", tmp_path / "store" / "kept", tmp_path / "out" / "model"
    checkpoints.check_space(*places, 1000, 2, "train m")
    with pytest.raises(
        UserError, match=r"26,000,000.0 GB are wanted for two checkpoints and the model; .*`scratch` and `store`"
    ):
        checkpoints.check_space(*places, 10**15, 2, "train m")


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 64))
def test_a_step_is_the_whole_batch_on_any_number_of_processes(batch: int, count: int, most: int) -> None:
    if batch % count:
        with pytest.raises(UserError, match=f"{batch} samples cannot be shared among {count} processes"):
            divide_batch(batch, count, most)
    else:
        per_device, accumulation = divide_batch(batch, count, most)
        assert per_device * accumulation * count == batch
        assert per_device <= most


def test_samples_beyond_the_block_are_an_error_or_counted(tokenizer_folder: Path, tmp_path: Path) -> None:
    tokenizer, path = AutoTokenizer.from_pretrained(tokenizer_folder), tmp_path / "m1k.parquet"
    some = samples(20)
    whole = [
        len(encode(tokenizer, s.prompt, s.thinking, s.answer, TurnTokens.from_tokenizer(tokenizer))["input_ids"])
        for s in some
    ]
    block = sorted(set(whole))[-2]
    beyond, number = sum(max(0, length - block) for length in whole), sum(length > block for length in whole)
    assert number == 1, "else the numbers below are others"
    longest = some[whole.index(max(whole))].id
    found = (
        rf"m1k.parquet: 1 of 20 samples \(5.0%\) are longer than {block} tokens \(the longest: "
        rf"{longest}, {max(whole)} tokens; {beyond}"
    )
    with pytest.raises(UserError, match=found + r".*sft.block_size.*sft.truncated \(now 0.01\)"):
        encode_all(tokenizer, some, block, 0.01, path)
    encoded = encode_all(tokenizer, some, block, 0.05, path)
    assert [encoded.counts[key] for key in ("cut_samples", "cut_tokens", "tokens")] == [1, beyond, sum(whole)]
    assert [len(example["input_ids"]) for example in encoded.examples] == [min(length, block) for length in whole]
    assert f"1 samples (5.0%) and {beyond:,} tokens" in str(encoded)
    assert str(encode_all(tokenizer, some, max(whole), 0, path)).endswith("none cut")
    with pytest.raises(UserError, match="record id0: its prompt fills 8 tokens"):
        encode_all(tokenizer, some, 8, 1, path)


@pytest.mark.train
@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        (
            {"report_to": "tensorboard"},
            "train (attention: sdpa, kernels: False, report_to: tensorboard): TensorBoardCallback requires",
        ),
        (
            {"attention": "flash_attention_2"},
            "train (attention: flash_attention_2, kernels: False, report_to: none): FlashAttention2",
        ),
    ],
)
@pytest.mark.slow
def test_what_is_not_installed_is_said(runtime: dict[str, str], message: str, material: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        command(material, tmp_path / "model", **runtime),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    assert f"error: {message}" in done.stdout
    assert "Install it in the training environment" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.train
@pytest.mark.slow
def test_a_base_of_another_family_is_trained_and_thinks(material: Path, tmp_path: Path) -> None:
    """Mistral's architecture, tokenizer and template, from the samples to predictions at each budget."""
    tokenizer = tokenizer_of("mistral v3")
    tokenizer.save_pretrained(tmp_path / "base")
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    MistralForCausalLM(MistralConfig(vocab_size=len(tokenizer), num_key_value_heads=1, **sizes)).save_pretrained(
        tmp_path / "base"
    )
    short = [
        sample for sample in samples(60) if len(sample.thinking) < 100
    ]  # this tokenizer needs more tokens for them
    write(tmp_path / "m1k.parquet", short, Sample)
    train(tmp_path, tmp_path / "model")
    question = Question("q1", "medqa", "Which?", None, ("a", "b"), "B")
    write(tmp_path / "medqa.parquet", [question], Question)
    settings = sweep_settings(budgets=[4, 16], forced=[1], forced_budget=16, answer_limit=8)
    files = {
        "model": "model",
        "benchmarks": "medqa.parquet",
        "store": "store",
        "output": "p.parquet",
        "rollouts": "r",
        "manifest": "m.json",
    }
    flags = [word for key, value in files.items() for word in (f"--{key}", str(tmp_path / value))]
    serve = '{"engine": "transformers", "dtype": "float32", "options": {}}'
    sweep(
        [
            "--name",
            "tiny",
            *flags,
            "--settings",
            settings.to_json(),
            "--serve",
            serve,
            "--runtime",
            json.dumps({"batch": 4, "options": {}}),
        ]
    )
    found = read(tmp_path / "p.parquet", Prediction)
    assert [(row.budget, row.forced) for row in found] == [(4, 0), (16, 0), (16, 1)]
    assert all(row.thinking_tokens for row in found)
