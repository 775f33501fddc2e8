"""Join prompt, thinking and answer into one sequence of tokens (3.3, B.3).

:class:`TokenFrames` joins token ids, which is exact. :class:`TextFrames` joins texts, as the released program does,
which sends text and counts the tokens of text. When a server encodes the joined text, two tokens may become one at a
seam: ``.`` and a new line become ``.\\n``. The published numbers were made in this way.
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
"""The word that replaces the end of thinking when thinking is forced on (3.3)."""


@dataclass(frozen=True)
class Thought:
    """A model's thinking so far."""

    ids: tuple[int, ...]
    """Token ids, including each forced ``Wait``, without the token that ended the thinking."""
    ended: bool
    """Whether the thinking ended by itself; otherwise it was cut."""
    generated: int
    """Tokens that were generated to get here: ends that a ``Wait`` replaced count, the ``Wait`` itself does not."""
    waits: tuple[int, ...] = ()
    """Positions in ``ids`` where each forced ``Wait`` begins."""
    text: str = ""
    """The text that the released program has, guarded (:func:`m1.core.tokens.guard`); empty if token ids are joined."""
    counted: int = 0
    """Tokens as the released program counts them: each generated piece is encoded again by itself, and ``Wait`` does
    not count."""


class TokenFrames:
    """Joins token ids, so generated tokens stay as they are; of the settings of ``generation`` it uses ``bos`` and
    ``limit``.

    Raises:
        UserError: the tokenizer's chat template has no token that opens a turn.
    """

    def __init__(self, tokenizer: Any, settings: SweepSettings) -> None:
        marks = TurnTokens.from_tokenizer(tokenizer)
        self.tokenizer, self.settings = tokenizer, settings
        self.header, answer = marks.header("think"), marks.header("answer")
        self.prefixes = {True: answer.rstrip(), False: f"{answer}Final Answer:"}
        """The opening of the answer after thinking that ended by itself (True) or was cut (False)."""
        self.stop = stop_ids(tokenizer)
        """Token ids that end thinking and end an answer."""
        self.prompt = lru_cache(4096)(self._encode_prompt)

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of a text, without special tokens around it."""
        return tuple(encode(self.tokenizer, text))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def _encode_prompt(self, text: str) -> tuple[int, ...]:
        """Token ids of a rendered prompt; with ``bos: released``, the tokenizer's special tokens precede them, as a
        server adds them to the released program's text."""
        return tuple(encode(self.tokenizer, text, add_special_tokens=self.settings.bos == "released"))

    def think(self, prompt: str) -> tuple[int, ...]:
        """Token ids after which thinking on a prompt begins."""
        return (*self.prompt(prompt), *self.encode(self.header))

    def go_on(self, prompt: str, thought: Thought) -> tuple[int, ...]:
        """Token ids after which the thinking goes on."""
        return (*self.think(prompt), *thought.ids)

    def answer(self, prompt: str, thought: Thought) -> tuple[int, ...]:
        """Token ids after which the answer begins; a new line precedes its opening if the thinking ends without one."""
        line = "" if self.decode(thought.ids[-1:]).endswith("\n") else "\n"
        return (*self.go_on(prompt, thought), *self.encode(line + self.prefixes[thought.ended]))

    def room(self, shown: bool = True) -> int:
        """The most tokens that can follow a question's :meth:`think`: thinking, opening of the answer, and answer.

        With ``forcing: released``, thinking that has nearly reached the budget may go on for nearly as many tokens
        again (:func:`m1.infer.sweep.shares`), and ``Wait`` does not count. Text that is encoded again (``seam:
        released``) is assumed to have no more tokens than before. A question that is not ``shown`` in the report is
        only forced together with others.
        """
        settings = self.settings
        thinking = max(budget for budget, _ in settings.conditions) if shown else settings.forced_budget
        if settings.forced and settings.forcing == "released":
            waits = len(self.encode(WAIT)) * max(settings.forced_counts)
            thinking = max(thinking, 2 * settings.forced_budget + waits)
        opening = max(len(self.encode(f"\n{prefix}")) for prefix in self.prefixes.values())
        return thinking + opening + settings.answer_limit

    def wait(self, thought: Thought) -> Thought:
        """The thinking, continued with ``Wait``."""
        return replace(thought, ids=(*thought.ids, *self.encode(WAIT)), waits=(*thought.waits, len(thought.ids)))

    def extend(self, thought: Thought, generation: Generation, limit: int) -> Thought:
        """The thinking, continued with a generation of at most ``limit`` tokens."""
        return replace(
            thought,
            ids=(*thought.ids, *generation.token_ids),
            ended=generation.finish_reason == "stop" and self._fits(generation.tokens, limit),
            generated=thought.generated + generation.tokens,
            counted=thought.counted + len(generation.token_ids),
        )

    def cut(self, thought: Thought, budget: int) -> Thought:
        """Unforced thinking as it would be at a smaller budget.

        It has ended by itself if its end token still fits: thinking of m tokens, with the end token, has ended at every
        budget >= m (with ``limit: released``, > m).
        """
        if thought.ended and self._fits(len(thought.ids) + 1, budget):
            return thought
        piece = Generation(thought.ids[:budget], "length")
        return replace(self.extend(Thought((), False, 0), piece, budget), generated=min(budget, thought.generated))

    def _fits(self, tokens: int, limit: int) -> bool:
        return tokens < limit or (tokens == limit and self.settings.limit == "exact")


class TextFrames(TokenFrames):
    """Joins texts and encodes them again, as the released program and its server do."""

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
        # Guard the piece unless it has real control tokens: their text must be encoded as control tokens again.
        if control_ids(self.tokenizer).isdisjoint(generation.token_ids):
            piece = guard(self.tokenizer, piece)
        longer = super().extend(thought, generation, limit)
        return replace(longer, text=thought.text + piece, counted=thought.counted + len(self.encode(piece)))


def make_frames(tokenizer: Any, settings: SweepSettings) -> TokenFrames:
    """The frames for the setting ``seam``."""
    return {"exact": TokenFrames, "released": TextFrames}[settings.seam](tokenizer, settings)
