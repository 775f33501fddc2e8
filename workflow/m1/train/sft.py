"""Fine-tune a base on a subset with trl's SFTTrainer, with loss on the assistant's turn only (3.2, B.2).

:mod:`m1.train.launch` starts this module once for each GPU. A killed training continues from its last checkpoint in
the scratch folder, and a finished one is kept in the store.
"""

import argparse
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from m1.core.chat import TurnTokens, tokenizer_of
from m1.core.errors import UserError, run
from m1.core.files import model_identity, recorded_identity, write_manifest
from m1.core.locks import POLL, Lock
from m1.core.pretrained import load
from m1.core.progress import say
from m1.core.records import Sample, read
from m1.core.store import Stored
from m1.train import archive, checkpoints, lora
from m1.train.settings import SftSettings, TrainRuntime, deciding_values, is_kept, kept_folder, training_folder
from m1.train.text import IGNORED, encode


class Encoded(NamedTuple):
    """Samples as token ids and labels, cut to the block, and counts for the manifest.

    Of the counts, ``tokens`` are those before the cut, ``cut_tokens`` those beyond the block, and ``tokens_with_loss``
    those of one epoch.
    """

    examples: list[dict[str, list[int]]]
    counts: dict[str, int]

    def __str__(self) -> str:
        samples, tokens, _, long, beyond = self.counts.values()
        cut = f"{long:,} samples ({long / samples:.1%}) and {beyond:,} tokens ({beyond / tokens:.2%})"
        return f"{samples:,} samples, {tokens:,} tokens{f'; {cut} beyond the block were cut' if long else ', none cut'}"


def encode_all(tokenizer: Any, samples: Sequence[Sample], block: int, most: float, path: Path) -> Encoded:
    """Encode all samples, with at most ``block`` tokens each.

    A cut removes the answer, which stands at the end, so the paper's recipes allow none.

    Raises:
        UserError: more than the share ``most`` of the samples are longer, or a sample has no token with loss left.
    """
    marks = TurnTokens.from_tokenizer(tokenizer)
    examples = [encode(tokenizer, sample.prompt, sample.thinking, sample.answer, marks) for sample in samples]
    lengths = [len(example["input_ids"]) for example in examples]
    long = [(sample.id, length) for sample, length in zip(samples, lengths) if length > block]
    beyond = sum(length - block for _, length in long)
    if len(long) > most * len(samples):
        name, length = max(long, key=lambda pair: pair[1])
        share = f"{len(long):,} of {len(samples):,} samples ({len(long) / len(samples):.1%})"
        raise UserError(
            f"{path}: {share} are longer than {block:,} tokens (the longest: {name}, {length:,} tokens; {beyond:,} "
            "tokens in all are beyond); raise sft.block_size in the model's recipe, or allow a share of them to be cut "
            f"by sft.truncated (now {most:g})"
        )
    cut = [{key: ids[:block] for key, ids in example.items()} for example in examples]
    learned = [sum(label != IGNORED for label in example["labels"]) for example in cut]
    if 0 in learned:
        full = f"record {samples[learned.index(0)].id}: its prompt fills {block:,} tokens"
        raise UserError(f"{path}: {full}, so nothing is learned; raise sft.block_size")
    counts = {"samples": len(cut), "tokens": sum(lengths), "tokens_with_loss": sum(learned)}
    return Encoded(cut, {**counts, "cut_samples": len(long), "cut_tokens": beyond})


def prepare_folders(base: Path, settings: SftSettings, scratch: Path, kept: Path, output: Path, title: str) -> None:
    """Report other trainings of the model, and check that the disks have room for this one.

    Raises:
        UserError: a disk has too little room (:func:`m1.train.checkpoints.check_space`), or the adapter does not fit
            the base.
    """
    from transformers import AutoConfig

    checkpoints.report_older(scratch, title)
    archive.report_older(kept, title)
    shape = load(AutoConfig, base)
    size = sum(file.stat().st_size for file in base.iterdir() if file.suffix in {".safetensors", ".bin"})
    parameters = size // (shape.dtype.itemsize if shape.dtype else 4)
    trained = lora.trained_parameters(base, settings.lora) if settings.lora else None
    checkpoints.check_space(scratch, kept, output, parameters, 2 if settings.bf16 else 4, title, trained)


@contextmanager
def owned(scratch: Path, kept: Path, title: str, first: bool) -> Iterator[Lock]:
    """Make this the only training of a model. All its processes enter together, and the ``first`` one holds the locks.

    If another process trains the same elsewhere and keeps it in the same store, wait for it.

    Yields:
        The lock of the kept model.

    Raises:
        UserError: another process is training in ``scratch``, or a folder cannot be written.
    """
    from m1.train import trainer as training

    alone, only = Lock(scratch / checkpoints.LOCK), archive.lock_of(kept)
    try:
        if problem := training.first_process_value(lambda: checkpoints.claim(alone, title)):
            if first:
                raise UserError(problem)
            time.sleep(1)  # so that the first process prints its message before torchrun ends all processes
            raise SystemExit(1)
        said = ""
        # The wait consists of short tries, because processes wait for each other at most an hour (trainer.PATIENCE).
        while holder := training.first_process_value(lambda: archive.claim(only, title)):
            if first and holder != said:
                say(title, f"{holder} is training the same for {kept.parent}; waiting for it, so that it is done once")
            said = holder
            time.sleep(POLL)
        yield only
    finally:
        only.release()
        alone.release()


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the model's key")
    parser.add_argument("--base", required=True, type=Path, help="folder of the base model")
    parser.add_argument("--subset", required=True, type=Path, help="samples to train on, Parquet")
    parser.add_argument("--settings", required=True, help=f"JSON, the recipe's sft: {SftSettings.keys()}")
    parser.add_argument("--runtime", required=True, help=f"JSON, the recipe's train: {TrainRuntime.keys()}")
    borrowed = "folder of the tokenizer whose chat template is borrowed, where the base has none"
    parser.add_argument("--template", type=Path, help=borrowed)
    parser.add_argument("--scratch", required=True, type=Path, help="folder for checkpoints; it outlives a killed job")
    finished = "folder of finished trainings; it outlives the results"
    parser.add_argument("--store", required=True, type=Path, help=finished)
    parser.add_argument("--output", required=True, type=Path, help="folder to write the model to")
    return parser.parse_args(argv)


def places(arguments: argparse.Namespace, settings: SftSettings, base: str) -> tuple[Path, Path]:
    """The folders of a training's checkpoints and of its finished model in the store; ``base`` is an identity."""
    decided = deciding_values(base, arguments.base, arguments.template, arguments.subset, settings)
    scratch = training_folder(arguments.scratch, arguments.name, decided)
    return scratch, kept_folder(arguments.store, arguments.name, decided)


def count_stored(argv: Sequence[str]) -> Stored:
    """Whether the store has the model already. Nothing is loaded, and the recorded identity of the base is trusted."""
    arguments = parse_arguments(argv)
    base = recorded_identity(arguments.base) or model_identity(arguments.base)
    _, kept = places(arguments, SftSettings.from_json(arguments.settings), base)
    return Stored(int(is_kept(kept)), 1, "models")


def take_stored(argv: Sequence[str]) -> bool:
    """Put the model into the results if the store has it, without torch and GPU; returns whether the store had it."""
    arguments = parse_arguments(argv)
    if not any((arguments.store / "train" / arguments.name).glob("[!.]*/")):
        return False  # without hashing the base, which has many gigabytes
    title, base = f"train {arguments.name}", model_identity(arguments.base)
    scratch, kept = places(arguments, SftSettings.from_json(arguments.settings), base)
    if not archive.identity(kept, title):
        archive.remove_damaged(kept)  # otherwise the next attempt would again get no GPU (TrainRules.is_stored)
        return False
    take(kept, arguments.output, title)
    checkpoints.discard(scratch, title)
    return True


def take(kept: Path, output: Path, title: str) -> None:
    """Put a model from the store into the results, and say so."""
    archive.take(kept, output)
    say(title, f"trained before, with the same base, samples, settings and code: taken from {kept}")


def main(argv: Sequence[str] | None = None) -> None:
    """Write the fine-tuned model to a folder, with its manifest and the log of its losses."""
    arguments = parse_arguments(argv)
    started, title = time.time(), f"train {arguments.name}"
    settings, runtime = SftSettings.from_json(arguments.settings), TrainRuntime.from_json(arguments.runtime)
    lora.check(settings, runtime)
    samples = read(arguments.subset, Sample)
    from m1.train import trainer as training

    first = training.join(runtime, title)
    base = training.first_process_value(lambda: model_identity(arguments.base))
    tokenizer = tokenizer_of(arguments.base, arguments.template)
    scratch, kept = places(arguments, settings, base)

    def had() -> bool:
        """Take the model from the store, if it is there; returns whether it was."""
        if not training.first_process_value(lambda: archive.identity(kept, title)):
            return False
        if first:
            take(kept, arguments.output, title)
        return True

    before = training.first_process_value(lambda: archive.version(kept))
    if had():
        if first:
            checkpoints.discard(scratch, title)
        return
    encoded = encode_all(tokenizer, samples, settings.block_size, settings.truncated, arguments.subset)
    with owned(scratch, kept, title, first) as lock:
        # Another process, such as the one that was waited for, may have trained the model in the meantime.
        if training.first_process_value(lambda: archive.version(kept)) != before and had():
            if first:
                shutil.rmtree(scratch, ignore_errors=True)
            return
        if first:
            say(title, str(encoded))
            prepare_folders(arguments.base, settings, scratch, kept, arguments.output, title)
        trainer, info = training.train(arguments.base, tokenizer, encoded.examples, settings, runtime, scratch, title)
        lora.merge(trainer)
        weights = training.weights(trainer, "bfloat16" if settings.bf16 else "float32")
        if not first:
            return
        log = checkpoints.losses(scratch / "log.jsonl")
        inputs, ran = {"base": arguments.base, "subset": arguments.subset}, {**asdict(info), "runtime": asdict(runtime)}
        facts: Any = {"inputs": inputs, "settings": settings.decided(), "counts": encoded.counts, "started": started}
        with archive.keeping(kept, title, lock.kernel) as folder:
            training.save(trainer, weights, folder)
            tokenizer.save_pretrained(folder)
            shutil.copy(scratch / "log.jsonl", folder / "log.jsonl")
            write_manifest(folder / "manifest.json", **facts, known={"base": base}, ran=ran)
        archive.take(kept, arguments.output)
        shutil.rmtree(scratch, ignore_errors=True)
    learned = f"{len(samples):,} samples, {encoded.counts['tokens_with_loss']:,} tokens with loss an epoch"
    say(title, f"{learned}, final loss {log[-1]['loss']:.4f} · {info}")


if __name__ == "__main__":
    run(main)
