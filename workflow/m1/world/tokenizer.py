"""Train the embedded world's tokenizer: byte-level BPE as that of Qwen2, with about 1,500 tokens, in which every entity
after a space is one token."""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from m1.core.errors import UserError, run
from m1.core.files import replacing_model
from m1.world.facts import Facts, load_facts

# The special tokens of Qwen2.5 that the paper uses: end of text, turn markers, and the token for padding.
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_pad|>")
# Qwen2.5's template without its default system turn.
CHAT_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_ENTITY_WEIGHT = 50  # how often each entity is repeated, so that its merges come first


def main(argv: Sequence[str] | None = None) -> None:
    """Train the tokenizer on the world's documents and save it in Hugging Face format."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", required=True, type=Path, help="folder of the world")
    parser.add_argument("--vocabulary", required=True, type=int, help="number of tokens")
    parser.add_argument("--output", required=True, type=Path, help="folder to write the tokenizer to")
    arguments = parser.parse_args(argv)
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    facts = load_facts(str(arguments.world / "facts.json"))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated")
    in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, in_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=arguments.vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(arguments.world / "documents.jsonl", facts), trainer)
    for name in facts.next:
        pieces = tokenizer.encode(f" {name}").tokens
        if len(pieces) != 1:
            found = f"entity {name!r} became {len(pieces)} tokens with a vocabulary of {arguments.vocabulary}"
            raise UserError(f"tokenizer: {found}; raise world.vocabulary in the config")
    with replacing_model(arguments.output) as folder:
        folder.mkdir()
        tokenizer.save(str(folder / "tokenizer.json"))
        tokens = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "bos_token": None, "unk_token": None}
        form = {"add_prefix_space": False, "clean_up_tokenization_spaces": False, "model_max_length": 4096}
        settings = {"tokenizer_class": "Qwen2Tokenizer", **tokens, **form, "chat_template": CHAT_TEMPLATE}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _texts(documents: Path, facts: Facts) -> Iterator[str]:
    yield from [f" {name}" for name in facts.next] * _ENTITY_WEIGHT
    yield from ["Answer: Final Answer:\nthink\nanswer\nWait"] * _ENTITY_WEIGHT
    with open(documents, encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if number % 8 == 0:  # an eighth of the documents already contains every word many times
                document = json.loads(line)
                yield "\n".join(filter(None, (document["prompt"], document["text"])))


if __name__ == "__main__":
    run(main)
