"""TurnTokens of thinking and answering in a model's own chat template (B.2, B.3).

The paper opens thinking and answer as Qwen2.5 opens a turn: ``<|im_start|>think`` and ``<|im_start|>answer`` in place
of ``<|im_start|>user``. Other templates open turns with other special tokens, so the marks are read from the template:

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
from pathlib import Path
from typing import Any

from m1.core.errors import UserError
from m1.core.files import read_json
from m1.core.pretrained import load
from m1.core.tokens import guard

DATE = "26 Jul 2024"
"""What some templates put into their system turn (Llama 3.2: today's date), or a prompt would change every day."""
FIXED = {"date_string": DATE, "enable_thinking": False, "thinking": False}
"""What every template is told; one that does not ask for it leaves it unread. ``enable_thinking`` (Qwen3) and
``thinking`` (DeepSeek V3.1) are the switches of a model's own thinking, which must not be open before the paper's
mark. Switched off, some templates write an empty block (``<think>\\n\\n</think>``): it is a part of the prompt, in
training, where it has no loss, and in inference."""


def tokenizer_of(model: Path, template: Path | None) -> Any:
    """The tokenizer of a model's folder; its chat template is that of ``template``, where one is borrowed."""
    from transformers import AutoTokenizer

    tokenizer = load(AutoTokenizer, model)
    if template:
        tokenizer.chat_template = load(AutoTokenizer, template).chat_template
    return tokenizer


def chat_template(folder: Path) -> str | dict[str, str] | None:
    """The chat template of a model's folder, or several by name, as transformers has it in ``tokenizer.chat_template``:
    read without it, since to import it takes seconds."""
    files = {"default": folder / "chat_template.jinja"}
    files |= {path.stem: path for path in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    found = {name: path.read_text(encoding="utf-8") for name, path in files.items() if path.is_file()}
    if not found and (settings := folder / "tokenizer_config.json").is_file():
        written = read_json(settings).get("chat_template")
        return {one["name"]: one["template"] for one in written} if isinstance(written, list) else written
    return found.get("default") if found.keys() <= {"default"} else found


def chat(tokenizer: Any, user: str, assistant: str | None = None) -> str:
    """One user turn by the model's chat template, and the opening of the assistant's turn, or that turn; the texts are
    guarded, for :func:`m1.core.tokens.encode`.

    A template's default system turn stays in the prompt, as in the authors' code, and the model's own thinking is
    switched off (:data:`FIXED`).

    Raises:
        UserError: there is no chat template, it cannot render a user turn or leaves its text out, or it opens thinking
            of its own and has no switch for it; that would stay open before the paper's mark.
    """
    name = tokenizer.name_or_path
    if not tokenizer.chat_template:
        raise UserError(f"{name}: its tokenizer has no chat template; name one to borrow by `tokenizer` in the recipe")
    asked = guard(tokenizer, user)
    turns = [{"role": "user", "content": asked}]
    turns += [{"role": "assistant", "content": guard(tokenizer, assistant)}] if assistant else []
    try:
        text: str = tokenizer.apply_chat_template(turns, add_generation_prompt=not assistant, tokenize=False, **FIXED)
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


_THINKING = re.compile(r"<[^<>\s]*(?:think|thought|reason)[^<>\s]*>|\[/?THINK\w*\]|◁/?think\w*▷", re.IGNORECASE)
_CLOSES = re.compile(r"[<\[◁]\|?(?:/|end)", re.IGNORECASE)


@dataclass(frozen=True)
class TurnTokens:
    """How a chat template opens a turn (special token, role, what follows) and ends the assistant's (special token)."""

    opening: str
    closing: str
    end: str

    def header(self, role: str) -> str:
        """The opening of a turn; ``think`` and ``answer`` are the paper's roles inside the assistant's."""
        return f"{self.opening}{role}{self.closing}"

    @classmethod
    def from_tokenizer(cls, tokenizer: Any) -> TurnTokens:
        """The marks of a tokenizer's chat template.

        Raises:
            UserError: it opens turns without a special token, so that the end of thinking could not be seen.
        """
        found = cls.find(tokenizer)
        if not found:
            before = chat(tokenizer, "QUESTION").rpartition("QUESTION")[0]
            fault = f"opens a turn without a special token ({before[-40:]!r} goes before the user's text)"
            # The page's former name: a training's fingerprint covers this line, but not what is raised. So no model is
            # trained again because a page was renamed. (The escape keeps the name out of a search for lost pages.)
            remedy = "so thinking cannot be marked; choose a base of the kinds that docs\u002ftraining.md lists"
            raise UserError(
                f"{tokenizer.name_or_path}: its chat template {fault}, "
                + remedy.replace("training.md", "architecture.md")
            )
        return found

    @classmethod
    def find(cls, tokenizer: Any) -> TurnTokens | None:
        """The same, or None where the template opens turns without a special token."""
        special = [re.escape(token.content) for token in tokenizer.added_tokens_decoder.values() if token.special]
        token = f"({'|'.join(sorted(special, key=len, reverse=True)) or '(?!)'})"
        before = chat(tokenizer, "QUESTION").rpartition("QUESTION")[0]  # the last one: a system turn may say it, too
        named = re.search(rf"{token}\s*user({token}?\s*)$", before)
        opening = named or re.search(rf"{token}\s*$", before)
        if not opening:
            return None
        after = chat(tokenizer, "QUESTION", "REPLY").rpartition("REPLY")[2]
        end = re.search(token, after)
        return cls(opening[1], named[2] if named else "\n", end[1] if end else tokenizer.eos_token)


ENDS = ("<|endoftext|>", "<|end_of_text|>", "<eos>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>")
"""Tokens that end a text or a turn, or open another one, wherever a tokenizer has them as special tokens: a base has
an end of text and a chat template an end of turn, and each may write the other's."""


def stop_ids(tokenizer: Any) -> tuple[int, ...]:
    """Token ids that end thinking and end an answer: the tokenizer's end of text, what opens and ends a turn in its
    chat template, and those of :data:`ENDS` that it has. The model's own end tokens end a generation beside them
    (:class:`m1.engines.protocol.ModelFacts`)."""
    marks = TurnTokens.find(tokenizer)
    names = {tokenizer.eos_token, *ENDS} | ({marks.opening, marks.end} if marks else set())
    known = tokenizer.get_vocab()
    return tuple(sorted(known[name] for name in names if name in known))


def assistant_text(thinking: str, answer: str, marks: TurnTokens) -> str:
    """The assistant's turn; ``Answer: `` goes before the answer unless it is in it, as in the released data."""
    answer = answer.strip()
    stated = answer if "Answer:" in answer else f"Answer: {answer}"
    return f"{marks.header('think')}{thinking.strip()}\n{marks.header('answer')}{stated}{marks.end}"
