"""Token ids of text in which only the chat template's own control tokens are control tokens.

A question, an option or a trace may hold ``<|im_end|>``, ``<s>`` or ``<think>``, and a tokenizer takes them for what
they look like. So text of data is guarded before it goes into a template: what looks like a control token becomes a
mark, which :func:`encode` turns back into text. Text that holds none is left alone, and its tokens are the tokenizer's.
"""

import json
import re
import secrets
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"  # noncharacters of Unicode; where a text holds the first, that is marked, too
_MARK = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")
_NONCE = secrets.token_hex(8)  # in the twin's names, so that no text can hold one of them
_TAG, _BYTE = re.compile(r"<\S*>|\[\S*\]"), re.compile(r"<0x[0-9A-F]{2}>")


class ControlTokens(NamedTuple):
    """The control tokens of a tokenizer: those that it calls special, and others with the form of a tag (Qwen3's
    ``<think>``); and the pattern that finds them."""

    names: tuple[str, ...]
    pattern: re.Pattern[str]

    def replace(self, text: str, by: Callable[[int], str]) -> str:
        """The text with something else in place of each control token, by its number."""
        return self.pattern.sub(lambda found: by(self.names.index(found[0])), text)


def guard(tokenizer: Any, text: str) -> str:
    """The text of data, with a mark for each thing in it that the tokenizer would take for a control token."""
    control = _control_tokens(tokenizer)
    parts = text.split(_OPEN)
    marked = [control.replace(part, lambda number: f"{_OPEN}{number}{_CLOSE}") for part in parts]
    return f"{_OPEN}{len(control.names)}{_CLOSE}".join(marked)


def is_guarded(text: str) -> bool:
    """Whether something in the text is marked."""
    return _OPEN in text


def encode(tokenizer: Any, text: str, add_special_tokens: bool = False) -> list[int]:
    """Token ids of a text that holds :func:`guard`-ed text; ``add_special_tokens``: as a server adds them to text."""
    if not is_guarded(text):
        ids: list[int] = tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return ids
    control = _control_tokens(tokenizer)
    names = (*control.names, _OPEN)
    text = _MARK.sub(lambda found: names[int(found[1])], control.replace(text, _alias))
    return list(_twin(tokenizer).encode(text, add_special_tokens=add_special_tokens).ids)


@lru_cache(maxsize=8)
def control_ids(tokenizer: Any) -> frozenset[int]:
    """Token ids of the control tokens."""
    return frozenset(tokenizer.convert_tokens_to_ids(list(_control_tokens(tokenizer).names)))


@lru_cache(maxsize=8)
def _control_tokens(tokenizer: Any) -> ControlTokens:
    tokens = tokenizer.added_tokens_decoder.values()
    found = {token.content for token in tokens if token.special or _TAG.fullmatch(token.content)}
    names = sorted((name for name in found if not _BYTE.fullmatch(name)), key=lambda name: (len(name), name))
    pattern = "|".join(re.escape(name) for name in reversed(names) if name) or "(?!)"
    return ControlTokens(tuple(names), re.compile(pattern))


def _alias(number: int) -> str:
    return f"{_OPEN}{_NONCE} {number}{_CLOSE}"


@lru_cache(maxsize=2)
def _twin(tokenizer: Any) -> Any:
    """The same tokenizer with other names of the same control tokens; so their old names are text to it."""
    from tokenizers import Tokenizer

    aliases = {name: _alias(number) for number, name in enumerate(_control_tokens(tokenizer).names)}
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    for token in state["added_tokens"]:
        token["content"] = aliases.get(token["content"], token["content"])
    model = state["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {aliases.get(piece, piece): number for piece, number in model["vocab"].items()}
    else:  # of Unigram
        model["vocab"] = [[aliases.get(piece, piece), weight] for piece, weight in model["vocab"]]
    if model.get("unk_token") in aliases:
        model["unk_token"] = aliases[model["unk_token"]]
    state["truncation"] = state["padding"] = None
    twin = Tokenizer.from_str(json.dumps(state))
    for name, alias in aliases.items():
        if twin.token_to_id(alias) != tokenizer.convert_tokens_to_ids(name):
            raise ValueError(f"{tokenizer.name_or_path}: {name} got another id under another name")
    return twin
