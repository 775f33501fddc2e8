"""Load models, their configurations and tokenizers, without ever running code that comes with them."""

from pathlib import Path
from typing import Any

from m1.core.errors import UserError


def load(kind: Any, name: str | Path, **options: Any) -> Any:
    """Load a model, configuration or tokenizer by an ``Auto…`` class of transformers, from a folder or from the hub.

    Raises:
        UserError: it needs code of its own. transformers would otherwise ask on standard input whether to run it.
    """
    try:
        return kind.from_pretrained(name, trust_remote_code=False, **options)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        reason = "it needs code that comes with it (`auto_map` in its configuration), and none is ever run"
        raise UserError(f"{name}: {reason}; choose a model of a kind that transformers itself has") from None
