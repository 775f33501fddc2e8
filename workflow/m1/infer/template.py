"""Fetch the tokenizer whose chat template a model without one borrows (4.1: some Llama 3 models of Table 1)."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from m1.core.errors import UserError, first_line, run
from m1.core.files import replacing_model
from m1.core.pretrained import load
from m1.core.progress import say
from m1.core.revisions import pinned
from m1.infer.settings import TemplateSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Fetch the tokenizer, which must have a chat template, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the model's key")
    parser.add_argument("--settings", required=True, help=f"JSON object with the keys {TemplateSettings.keys()}")
    parser.add_argument("--output", required=True, type=Path, help="folder of the tokenizer")
    arguments = parser.parse_args(argv)
    from transformers import AutoTokenizer

    settings = TemplateSettings.from_json(arguments.settings)
    where = f"config/models/{arguments.name}.yaml: tokenizer {settings.hub} at revision {settings.revision}"
    try:
        tokenizer = load(AutoTokenizer, settings.hub, revision=pinned(settings.hub, settings.revision))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except Exception as error:  # of several libraries; all mean that the tokenizer did not come
        found = f"cannot be had from the hub ({first_line(error)})"
        raise UserError(f"{where}: {found}. Check id, network and access.") from None
    if not tokenizer.chat_template:
        raise UserError(f"{where}: it has no chat template. Name a tokenizer that has one.")
    with replacing_model(arguments.output) as folder:
        tokenizer.save_pretrained(folder)
    say(f"template {arguments.name}", f"chat template of {settings.hub}")


if __name__ == "__main__":
    run(main)
