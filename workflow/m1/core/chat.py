"""Mark thinking and answer in the tokens of a model's own chat template (B.2, B.3).

The paper opens thinking and answer as Qwen2.5 opens a turn: with ``<|im_start|>think`` and ``<|im_start|>answer`` in
place of ``<|im_start|>user``. Other templates open turns with other special tokens, so these are read from the
template:

| template | thinking opens with | end of a turn |
|---|---|---|
| Qwen2.5, Qwen3 (ChatML) | ``<|im_start|>think\\n`` | ``<|im_end|>`` |
| Llama 3 | ``<|start_header_id|>think<|end_header_id|>\\n\\n`` | ``<|eot_id|>`` |
| Mistral (with control tokens, from v3 on) | ``[INST]think\\n`` | ``</s>`` |
| Gemma | ``<start_of_turn>think\\n`` | ``<end_of_turn>`` |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from m1.core.errors import UserError
from m1.core.files import read_json
from m1.core.pretrained import load
from m1.core.tokens import guard

DATE = date(2024, 7, 26)
"""The date that templates get which write today's date into the system turn; prompts must not change daily. It is the
one that Llama 3.2's template has by default."""
FIXED = {"date_string": f"{DATE:%d %b %Y}", "enable_thinking": False, "thinking": False}
"""Variables that every template gets; a template ignores those it does not use. ``enable_thinking`` (Qwen3) and
``thinking`` (DeepSeek V3.1) switch off a model's own thinking, which must not be open before the paper's mark. When it
is off, some templates write an empty block (``<think>\\n\\n</think>``). The block then belongs to the prompt, both in
training, where it has no loss, and in inference."""


def tokenizer_of(model: Path, template: Path | None) -> Any:
    """Load the tokenizer of a model's folder, with the chat template of the folder ``template`` if one is borrowed."""
    from transformers import AutoTokenizer

    tokenizer = load(AutoTokenizer, model)
    if template:
        tokenizer.chat_template = load(AutoTokenizer, template).chat_template
    return tokenizer


def chat_template(folder: Path) -> str | dict[str, str] | None:
    """The chat template of a model's folder, or several by name, as in ``tokenizer.chat_template`` of transformers.

    The files are read directly, because importing transformers takes seconds.
    """
    files = {"default": folder / "chat_template.jinja"}
    files |= {path.stem: path for path in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    found = {name: path.read_text(encoding="utf-8") for name, path in files.items() if path.is_file()}
    if not found and (settings := folder / "tokenizer_config.json").is_file():
        written = read_json(settings).get("chat_template")
        return {one["name"]: one["template"] for one in written} if isinstance(written, list) else written
    return found.get("default") if found.keys() <= {"default"} else found


def chat(tokenizer: Any, user: str, assistant: str | None = None) -> str:
    """Render a user turn by the model's chat template, followed by the opening of the assistant's turn or that turn.

    A template's default system turn stays in the prompt, as in the authors' code. The model's own thinking is switched
    off (:data:`FIXED`). Both texts are guarded, so the result must be encoded by :func:`m1.core.tokens.encode`.

    Raises:
        UserError: the tokenizer has no chat template, the template cannot render a user turn or leaves its text out,
            or it opens thinking of its own that cannot be switched off and would stay open before the paper's mark.
            A date that cannot be fixed (:func:`with_fixed_date`) counts as a template that cannot be rendered.
    """
    name = tokenizer.name_or_path
    if not tokenizer.chat_template:
        raise UserError(f"{name}: its tokenizer has no chat template; name one to borrow by `tokenizer` in the recipe")
    asked = guard(tokenizer, user)
    turns = [{"role": "user", "content": asked}]
    turns += [{"role": "assistant", "content": guard(tokenizer, assistant)}] if assistant else []
    try:
        template = with_fixed_date(tokenizer.get_chat_template())
        text: str = tokenizer.apply_chat_template(
            turns, chat_template=template, add_generation_prompt=not assistant, tokenize=False, **FIXED
        )
    except Exception as error:  # of the template's own making: Jinja's, or what it raises itself
        found = f"its chat template cannot render a question ({error})"
        raise UserError(f"{name}: {found}; borrow another by `tokenizer`") from None
    place = text.rfind(asked.strip())
    if place < 0:
        found = "its chat template leaves the question's text out"
        raise UserError(f"{name}: {found}; choose a model of text, or borrow another template by `tokenizer`")
    thinking = [tag for tag in _THINKING.findall(text, place + len(asked.strip())) if not assistant]
    if thinking and not _CLOSES.match(thinking[-1]):
        found = f"its chat template opens thinking of its own ({thinking[-1]} at the end of the prompt)"
        found = f"{found} and knows no `enable_thinking` to switch it off"
        raise UserError(f"{name}: {found}; choose another base, or borrow another template by `tokenizer`")
    return text


@lru_cache(maxsize=8)
def with_fixed_date(template: str) -> str:
    """A chat template with :data:`DATE` in place of each call of ``strftime_now``, which gives today's date.

    Raises:
        ValueError: a call has another argument than a text, so its date cannot be told.
    """
    fixed = _TODAY.sub(lambda call: f"{call[1]}{DATE.strftime(call[2])}{call[1]}", template)
    if "strftime_now(" in fixed:
        raise ValueError("it writes today's date, so prompts would change daily")
    return fixed


_TODAY = re.compile(r"""strftime_now\(\s*(["'])([^"']*)\1\s*\)""")
_THINKING = re.compile(r"<[^<>\s]*(?:think|thought|reason)[^<>\s]*>|\[/?THINK\w*\]|◁/?think\w*▷", re.IGNORECASE)
_CLOSES = re.compile(r"[<\[◁]\|?(?:/|end)", re.IGNORECASE)


@dataclass(frozen=True)
class TurnTokens:
    """The tokens with which a chat template opens a turn and ends the assistant's turn."""

    opening: str  # the special token before the role
    closing: str  # the text between the role and the turn's text
    end: str  # the special token that ends the assistant's turn

    def header(self, role: str) -> str:
        """The opening of a turn with a role; ``think`` and ``answer`` are the paper's roles in the assistant's turn."""
        return f"{self.opening}{role}{self.closing}"

    @classmethod
    def from_tokenizer(cls, tokenizer: Any) -> TurnTokens:
        """Read the turn tokens from a tokenizer's chat template.

        Raises:
            UserError: the template opens turns without a special token, so the end of thinking could not be seen, or
                :meth:`find` refuses it.
        """
        found = cls.find(tokenizer)
        if not found:
            before = chat(tokenizer, "QUESTION").rpartition("QUESTION")[0]
            raise UserError(
                f"{tokenizer.name_or_path}: its chat template opens a turn without a special token ({before[-40:]!r} "
                "goes before the user's text), so thinking cannot be marked; choose a base of the kinds that "
                "docs/architecture.md lists"
            )
        return found

    @classmethod
    def find(cls, tokenizer: Any) -> TurnTokens | None:
        """The same, but None if the template opens turns without a special token.

        Raises:
            UserError: the template leaves the header of the assistant's turn open, so that the model writes a channel
                of its own choice there (gpt-oss), and its own thinking cannot be switched off.
        """
        special = [re.escape(token.content) for token in tokenizer.added_tokens_decoder.values() if token.special]
        token = f"({'|'.join(sorted(special, key=len, reverse=True)) or '(?!)'})"
        prompt = chat(tokenizer, "QUESTION")
        before = prompt.rpartition("QUESTION")[0]  # the last one: a system turn may say it, too
        named = re.search(rf"{token}\s*user({token}?\s*)$", before)
        opening = named or re.search(rf"{token}\s*$", before)
        if not opening:
            return None
        closing = named[2].strip() if named else ""
        if named and closing not in (header := prompt.rpartition(named[1])[2]):
            found = f"its chat template ends the prompt within a header ({named[1] + header!r}, without {closing!r})"
            found = f"{found}, where the model names a channel, so its own thinking cannot be switched off"
            remedy = "choose another base, or borrow another template by `tokenizer`"
            raise UserError(f"{tokenizer.name_or_path}: {found}; {remedy}")
        after = chat(tokenizer, "QUESTION", "REPLY").rpartition("REPLY")[2]
        end = re.search(token, after)
        return cls(opening[1], named[2] if named else "\n", end[1] if end else tokenizer.eos_token)


ENDS = ("<|endoftext|>", "<|end_of_text|>", "<eos>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>")
"""Special tokens of several model families that end a text or a turn, or open the next turn. A model may write either
kind: its base learned an end of text, its chat template an end of turn."""


def stop_ids(tokenizer: Any) -> tuple[int, ...]:
    """Token ids that end thinking and end an answer, sorted.

    They are the tokenizer's end of text, the special tokens that open and end a turn in its chat template, and those of
    :data:`ENDS` that it has. A generation also ends at the model's own end tokens
    (:class:`m1.engines.protocol.ModelFacts`).
    """
    marks = TurnTokens.find(tokenizer)
    names = {tokenizer.eos_token, *ENDS} | ({marks.opening, marks.end} if marks else set())
    known = tokenizer.get_vocab()
    return tuple(sorted(known[name] for name in names if name in known))


def assistant_text(thinking: str, answer: str, marks: TurnTokens) -> str:
    """The text of the assistant's turn in training (B.2): thinking, then the answer.

    ``Answer: `` is put before an answer that does not contain ``Answer:``, as in the released data.
    """
    answer = answer.strip()
    stated = answer if "Answer:" in answer else f"Answer: {answer}"
    return f"{marks.header('think')}{thinking.strip()}\n{marks.header('answer')}{stated}{marks.end}"
