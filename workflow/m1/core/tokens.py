"""Encode prompts so that control tokens inside the data stay text.

A question, an option or a trace may contain ``<|im_end|>``, ``<s>`` or ``<think>``, which a tokenizer would read as
control tokens. So text of data is guarded before it goes into a chat template (:func:`guard`): a mark replaces whatever
looks like a control token, and :func:`encode` encodes the mark as the original text. Text without such a token is left
alone and gets the tokenizer's own ids.
"""

import json
import re
import secrets
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"  # Unicode noncharacters; if a text contains the first one, that is marked, too
_MARK = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")
_NONCE = secrets.token_hex(8)  # part of the twin's names of control tokens, so that no text can contain one of them
_TAG, _BYTE = re.compile(r"<\S*>|\[\S*\]"), re.compile(r"<0x[0-9A-F]{2}>")


class ControlTokens(NamedTuple):
    """The control tokens of a tokenizer, and the pattern that finds them.

    They are the tokens that the tokenizer calls special, and further added tokens with the form of a tag (such as
    ``<think>`` of Qwen3).
    """

    names: tuple[str, ...]
    pattern: re.Pattern[str]

    def replace(self, text: str, by: Callable[[int], str]) -> str:
        """The text with each control token replaced by ``by(its number)``."""
        return self.pattern.sub(lambda found: by(self.names.index(found[0])), text)


def guard(tokenizer: Any, text: str) -> str:
    """A text of data, with a mark in place of everything that the tokenizer would read as a control token."""
    control = _control_tokens(tokenizer)
    parts = text.split(_OPEN)
    marked = [control.replace(part, lambda number: f"{_OPEN}{number}{_CLOSE}") for part in parts]
    return f"{_OPEN}{len(control.names)}{_CLOSE}".join(marked)


def is_guarded(text: str) -> bool:
    """Whether a text contains marks of :func:`guard`."""
    return _OPEN in text


def encode(tokenizer: Any, text: str, add_special_tokens: bool = False) -> list[int]:
    """Token ids of a text whose parts from data are guarded (:func:`guard`).

    With ``add_special_tokens``, the tokenizer's own are added, as a server does with plain text.
    """
    if not is_guarded(text):
        ids: list[int] = tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return ids
    control = _control_tokens(tokenizer)
    names = (*control.names, _OPEN)
    text = _MARK.sub(lambda found: names[int(found[1])], control.replace(text, _alias))
    return list(_twin(tokenizer).encode(text, add_special_tokens=add_special_tokens).ids)


@lru_cache(maxsize=8)
def control_ids(tokenizer: Any) -> frozenset[int]:
    """The token ids of a tokenizer's control tokens."""
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
    """The same tokenizer with other names for its control tokens, so that it encodes their usual names as text."""
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
