"""How prompt, thinking and answer become one sequence of tokens (3.3, B.3): exactly, by token ids, or by text, as the
released program does it.

The released program knows text only: it sends text, counts the tokens of text, and joins text. Where the server encodes
such a text, two tokens can become one at a seam: ``.`` and a new line become ``.\\n``. The published numbers were made
so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from m1.core.chat import TurnTokens, stop_ids
from m1.core.tokens import control_ids, encode, guard
from m1.engines.protocol import Generation
from m1.infer.settings import SweepSettings

WAIT = "Wait"
"""Takes the place of the end of thinking when it is forced on (3.3)."""


@dataclass(frozen=True)
class Thought:
    """Thinking at some moment."""

    ids: tuple[int, ...]
    """Token ids, forced ``Wait``s among them, without the token that ended it."""
    ended: bool
    """Whether it ended by itself, else it was cut."""
    generated: int
    """Tokens that had to be generated to come here from nothing: ends that a ``Wait`` replaced count, the ``Wait``s do
    not."""
    waits: tuple[int, ...] = ()
    """Where in ``ids`` each forced ``Wait`` begins."""
    text: str = ""
    """As the released program sees it, guarded (:func:`m1.core.tokens.guard`); empty where tokens are joined."""
    counted: int = 0
    """Tokens as the released program counts them: of each generated piece by itself, encoded again; ``Wait``s do not
    count."""


class TokenFrames:
    """Joins token ids: what was generated stays as it was generated; of the settings, ``bos`` and ``limit`` are used.

    Raises:
        UserError: the tokenizer's chat template has no token that opens a turn.
    """

    def __init__(self, tokenizer: Any, settings: SweepSettings) -> None:
        marks = TurnTokens.from_tokenizer(tokenizer)
        self.tokenizer, self.settings = tokenizer, settings
        self.header, answer = marks.header("think"), marks.header("answer")
        self.prefixes = {True: answer.rstrip(), False: f"{answer}Final Answer:"}
        """What opens the answer after thinking that ended by itself, and after thinking that was cut."""
        self.stop = stop_ids(tokenizer)
        """Token ids that end thinking, and end an answer."""
        self.prompt = lru_cache(4096)(self._encode_prompt)

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of a text, without special tokens around it."""
        return tuple(encode(self.tokenizer, text))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def _encode_prompt(self, text: str) -> tuple[int, ...]:
        """Token ids of a rendered prompt; ``bos: released`` has the tokenizer's own special tokens before those of the
        chat template, as a server adds them to text."""
        return tuple(encode(self.tokenizer, text, add_special_tokens=self.settings.bos == "released"))

    def think(self, prompt: str) -> tuple[int, ...]:
        """What thinking on a prompt begins after."""
        return (*self.prompt(prompt), *self.encode(self.header))

    def go_on(self, prompt: str, thought: Thought) -> tuple[int, ...]:
        """What thinking goes on after."""
        return (*self.think(prompt), *thought.ids)

    def answer(self, prompt: str, thought: Thought) -> tuple[int, ...]:
        """What the answer begins after; a new line goes before its opening unless thinking ends with one."""
        line = "" if self.decode(thought.ids[-1:]).endswith("\n") else "\n"
        return (*self.go_on(prompt, thought), *self.encode(line + self.prefixes[thought.ended]))

    def room(self, shown: bool = True) -> int:
        """Tokens at most after a question's :meth:`think`: thinking, what opens the answer, and the answer.

        With ``forcing: released``, thinking that was nearly at the budget may go on for nearly as much again
        (:func:`m1.infer.sweep.shares`), and ``Wait``s do not count. Text that is encoded again (``seam: released``) is
        taken to be no more tokens than it was; where it is, the engine refuses the request.

        Args:
            shown: whether predictions are made of the question; else it is only forced together with others.
        """
        settings = self.settings
        thinking = max(budget for budget, _ in settings.conditions) if shown else settings.forced_budget
        if settings.forced and settings.forcing == "released":
            waits = len(self.encode(WAIT)) * max(settings.forced_counts)
            thinking = max(thinking, 2 * settings.forced_budget + waits)
        opening = max(len(self.encode(f"\n{prefix}")) for prefix in self.prefixes.values())
        return thinking + opening + settings.answer_limit

    def wait(self, thought: Thought) -> Thought:
        """Thinking with a ``Wait`` behind it."""
        return replace(thought, ids=(*thought.ids, *self.encode(WAIT)), waits=(*thought.waits, len(thought.ids)))

    def extend(self, thought: Thought, generation: Generation, limit: int) -> Thought:
        """Thinking with what was generated behind it, ``limit`` tokens at most."""
        return replace(
            thought,
            ids=(*thought.ids, *generation.token_ids),
            ended=generation.finish_reason == "stop" and self._fits(generation.tokens, limit),
            generated=thought.generated + generation.tokens,
            counted=thought.counted + len(generation.token_ids),
        )

    def cut(self, thought: Thought, budget: int) -> Thought:
        """Thinking that was not forced, as it would be at a smaller budget.

        It has ended by itself if its end token still fits: m tokens with the end token have ended at every budget >= m
        (``limit: released``: > m).
        """
        if thought.ended and self._fits(len(thought.ids) + 1, budget):
            return thought
        piece = Generation(thought.ids[:budget], "length")
        return replace(self.extend(Thought((), False, 0), piece, budget), generated=min(budget, thought.generated))

    def _fits(self, tokens: int, limit: int) -> bool:
        return tokens < limit or (tokens == limit and self.settings.limit == "exact")


class TextFrames(TokenFrames):
    """Joins text and encodes it again, as the released program and its server do."""

    def think(self, prompt: str) -> tuple[int, ...]:
        return self.prompt(prompt + self.header)

    def go_on(self, prompt: str, thought: Thought) -> tuple[int, ...]:
        return self._encode_prompt(prompt + self.header + thought.text)

    def answer(self, prompt: str, thought: Thought) -> tuple[int, ...]:
        line = "" if thought.text.endswith("\n") else "\n"
        return self._encode_prompt(prompt + self.header + thought.text + line + self.prefixes[thought.ended])

    def wait(self, thought: Thought) -> Thought:
        word = f" {WAIT}" if thought.text.endswith(" ") else WAIT
        waits = (*thought.waits, len(thought.ids))
        return replace(thought, ids=(*thought.ids, *self.encode(word)), waits=waits, text=thought.text + word)

    def extend(self, thought: Thought, generation: Generation, limit: int) -> Thought:
        piece = self.decode(generation.token_ids)
        if control_ids(self.tokenizer).isdisjoint(generation.token_ids):  # else a control token may be written out
            piece = guard(self.tokenizer, piece)
        longer = super().extend(thought, generation, limit)
        return replace(longer, text=thought.text + piece, counted=thought.counted + len(self.encode(piece)))


def make_frames(tokenizer: Any, settings: SweepSettings) -> TokenFrames:
    """The frames that ``seam`` asks for."""
    return {"exact": TokenFrames, "released": TextFrames}[settings.seam](tokenizer, settings)
