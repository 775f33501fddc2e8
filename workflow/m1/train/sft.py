"""Fine-tune a base on a subset with trl's SFTTrainer, loss on the assistant's turn only (3.2, B.2)."""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m1.errors import UserError, run
from m1.files import replacing, write_manifest
from m1.progress import Progress, say
from m1.records import Sample, read
from m1.train.text import encode


def encode_all(tokenizer: Any, samples: Sequence[Sample], block: int, path: Path) -> list[dict[str, list[int]]]:
    """All examples as token ids and labels.

    Raises:
        UserError: an example is longer than the block (it would be cut without a word).
    """
    examples = [encode(tokenizer, sample.prompt, sample.thinking, sample.answer) for sample in samples]
    long = [(sample.id, len(example["input_ids"])) for sample, example in zip(samples, examples) if len(example["input_ids"]) > block]
    if long:
        name, length = long[0]
        found = f"{len(long)} of {len(samples)} samples are longer than {block:,} tokens (the first: {name}, {length:,} tokens)"
        raise UserError(f"{path}: {found}; raise sft.block_size in the model's recipe")
    return examples


def train(
    model_folder: Path, tokenizer: Any, examples: list[dict[str, list[int]]], settings: dict[str, Any], scratch: Path, title: str
) -> tuple[Any, list[dict]]:
    """Train and return the model and the log of losses.

    Args:
        settings: the recipe's ``sft``: epochs, batch_size, learning_rate, warmup_ratio, weight_decay, betas, bf16, seed, ...
        scratch: folder for what the trainer writes on its way.
    """
    import math

    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    steps = math.ceil(len(examples) / settings["batch_size"]) * settings["epochs"]

    class Shown(TrainerCallback):
        """The loss on the progress line."""

        def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                progress.advance(state.global_step - progress.done, note=f"loss {float(logs['loss']):.3f}")

    # Weights are held in float32 and bf16 is autocast, as in the released training.
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    config = SFTConfig(
        output_dir=str(scratch),
        num_train_epochs=settings["epochs"],
        per_device_train_batch_size=settings["batch_size"] // settings["accumulation"],
        gradient_accumulation_steps=settings["accumulation"],
        learning_rate=settings["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(settings["warmup_ratio"] * steps),
        weight_decay=settings["weight_decay"],
        adam_beta1=settings["betas"][0],
        adam_beta2=settings["betas"][1],
        bf16=settings["bf16"],
        activation_checkpointing=settings["gradient_checkpointing"],
        max_length=settings["block_size"],
        seed=settings["seed"],
        logging_steps=max(1, steps // 50),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=0,
        use_cpu=not torch.cuda.is_available(),
        train_sampling_strategy="group_by_length",
    )
    with Progress(title, steps, "steps") as progress:
        trainer = SFTTrainer(
            model=model, args=config, train_dataset=Dataset.from_list(examples), processing_class=tokenizer, callbacks=[Shown()]
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        progress.advance(steps - progress.done)
    return trainer.model, [entry for entry in trainer.state.log_history if "loss" in entry]


def main(argv: Sequence[str] | None = None) -> None:
    """Write the fine-tuned model to a folder, with its manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the model's key")
    parser.add_argument("--base", required=True, type=Path, help="folder of the base model")
    parser.add_argument("--subset", required=True, type=Path, help="samples, Parquet")
    parser.add_argument("--settings", required=True, type=json.loads, help="JSON: the recipe's sft")
    parser.add_argument("--output", required=True, type=Path, help="folder of the model")
    arguments = parser.parse_args(argv)
    started = time.time()
    title = f"train {arguments.name}"
    samples = read(arguments.subset, Sample)
    if not (arguments.base / "config.json").is_file():
        raise UserError(f"{arguments.base}: no base model here (config.json is missing); check `bases` in the config")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(arguments.base)
    examples = encode_all(tokenizer, samples, arguments.settings["block_size"], arguments.subset)
    with replacing(arguments.output) as folder:
        model, losses = train(arguments.base, tokenizer, examples, arguments.settings, folder / "scratch", title)
        shutil.rmtree(folder / "scratch", ignore_errors=True)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "log.json").write_text(json.dumps(losses, indent=2) + "\n", encoding="utf-8")
        learned = sum(label >= 0 for example in examples for label in example["labels"])
        counts = {"samples": len(samples), "tokens": sum(len(e["input_ids"]) for e in examples), "tokens_with_loss": learned}
        inputs = {"base": arguments.base, "subset": arguments.subset}
        write_manifest(folder / "manifest.json", inputs=inputs, settings=arguments.settings, counts=counts, started=started)
    say(title, f"{len(samples):,} samples, {learned:,} tokens with loss an epoch, final loss {losses[-1]['loss']}")


if __name__ == "__main__":
    run(main)
