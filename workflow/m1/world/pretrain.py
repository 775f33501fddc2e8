"""Pretrain a tiny Qwen2 base on the world's documents, and save it in the format in which the hub has Qwen2.5."""

import argparse
import json
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from m1.core.errors import run
from m1.core.files import replacing_model, write_manifest
from m1.core.pretrained import load
from m1.core.progress import Progress, say
from m1.world.settings import PretrainSettings

IGNORED = -100  # label of a token that is not learned
Example = tuple[list[int], list[int]]  # token ids, labels


def encode(tokenizer: Any, document: dict[str, Any]) -> Example:
    """Encode a document. If it has a prompt, only the assistant's text is learned, with its end if it is complete."""
    if document["prompt"] is None:
        ids = tokenizer.encode(document["text"], add_special_tokens=False)
        return ids, ids
    turn = [{"role": "user", "content": document["prompt"]}]
    prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    before = tokenizer.encode(prompt, add_special_tokens=False)
    after = tokenizer.encode(document["text"], add_special_tokens=False)
    after += [tokenizer.eos_token_id] if document["ends"] else []
    return before + after, [IGNORED] * len(before) + after


def batches(examples: list[Example], size: int) -> Iterator[list[Example]]:
    """Yield batches in the order of training; each sixteen batches are sorted by length together, to save padding."""
    rng = random.Random(0)
    for start in range(0, len(examples), size * 16):
        near = sorted(examples[start : start + size * 16], key=lambda pair: len(pair[0]))
        groups = [near[i : i + size] for i in range(0, len(near), size)]
        rng.shuffle(groups)
        yield from groups


def pretrain(
    documents: list[dict[str, Any]], tokenizer: Any, settings: PretrainSettings, title: str
) -> tuple[Any, float]:
    """Train a new model (float32) on the documents in order; returns it, and the mean loss of the last 2 % of steps."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(settings.seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        intermediate_size=settings.feed_forward,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        initializer_range=0.05,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen2ForCausalLM(config).float().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    steps = list(batches([encode(tokenizer, document) for document in documents], settings.batch))
    warmup = max(1, len(steps) // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (len(steps) - step) / max(1, len(steps) - warmup))
    )
    losses = []
    with Progress(title, len(steps), "steps") as progress:
        for batch in steps:
            width = max(len(ids) for ids, _ in batch)
            ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row, _ in batch])
            labels = torch.tensor([row + [IGNORED] * (width - len(row)) for _, row in batch])[:, 1:]
            # Padding is on the right and attention is causal, so no mask is needed; the head is applied only where
            # there is a label.
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1][labels != IGNORED]
            loss = torch.nn.functional.cross_entropy(model.lm_head(hidden), labels[labels != IGNORED])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            progress.advance(note=f"loss {losses[-1]:.3f}")
    tail = losses[-max(1, len(losses) // 50) :]
    return model.eval(), sum(tail) / len(tail)


def main(argv: Sequence[str] | None = None) -> None:
    """Pretrain and save one base."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", required=True, type=Path, help="folder of the world")
    parser.add_argument("--tokenizer", required=True, type=Path, help="folder of the tokenizer")
    parser.add_argument("--name", required=True, help="the base's key")
    parser.add_argument("--settings", required=True, help=f"JSON object with the keys {PretrainSettings.keys()}")
    parser.add_argument("--output", required=True, type=Path, help="folder to write the model to")
    arguments = parser.parse_args(argv)
    settings = PretrainSettings.from_json(arguments.settings)
    started, title = time.time(), f"pretrain {arguments.name}"
    from transformers import AutoTokenizer

    tokenizer = load(AutoTokenizer, arguments.tokenizer)
    with open(arguments.world / "documents.jsonl", encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    model, loss = pretrain(documents, tokenizer, settings, title)
    parameters = sum(weights.numel() for weights in model.parameters())
    with replacing_model(arguments.output) as folder:
        model.save_pretrained(folder)
        for file in arguments.tokenizer.glob("[!.]*"):
            shutil.copy(file, folder / file.name)
        inputs = {"documents": arguments.world / "documents.jsonl", "tokenizer": arguments.tokenizer / "tokenizer.json"}
        counts = {"documents": len(documents), "parameters": parameters, "loss": round(loss, 4)}
        told = asdict(settings)
        write_manifest(folder / "manifest.json", inputs=inputs, settings=told, counts=counts, started=started)
    say(title, f"{parameters:,} parameters, loss {loss:.3f}")


if __name__ == "__main__":
    run(main)
