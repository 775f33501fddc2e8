"""Make the documents on which the tiny bases are pretrained: the facts, and how to read and answer a question.

The documents show neither reasoning over more than two hops nor a mark of thinking, because following longer chains is
what fine-tuning should teach.
"""

import random
from dataclasses import dataclass

from m1.core.prompts import evaluation_prompt, options_lines
from m1.world.facts import Facts
from m1.world.questions import STYLES, ask, draw_query, make_question, read_query
from m1.world.teacher import box, draw_rechecks, follow, opening, think

FACTS_PER_LIST = 14
ECHOES = 6
OPTIONS = (4, 5, 8, 10)
# The immediate answer that a base learns for questions about a trend. A base that guessed would always say "no" (or
# always "yes"), so the difficulty filter would drop every "no", and nothing would be left to learn it from.
UNCLEAR = "unclear"
MIXTURE = {"list": 22, "chain": 4, "echo": 14, "direct": 14, "restate": 14, "steps": 32}
"""Shares of the kinds of documents, in percent. Without ``restate`` and ``steps``, a small fine-tuning stayed at
chance; ``echo`` teaches the model to copy the number of steps."""


@dataclass(frozen=True)
class Document:
    """A document: plain text (without a prompt), or the assistant's turn after a user's prompt."""

    kind: str
    prompt: str | None
    text: str
    ends: bool  # whether the text is complete, so that the end token is learned


def make_documents(facts: Facts, seed: int, facts_first: int, mixed: int) -> list[Document]:
    """Make the documents in the order of training: ``facts_first`` with facts only, then ``mixed`` of all kinds.

    The first phase ensures that the facts are learned by its end; without it, the time of that would vary by chance.
    """
    rng = random.Random(f"documents {seed}")
    kinds, shares = tuple(MIXTURE), tuple(MIXTURE.values())
    first = [_make(facts, rng, rng.choices(kinds[:2], shares[:2])[0]) for _ in range(facts_first)]
    return first + [_make(facts, rng, rng.choices(kinds, shares)[0]) for _ in range(mixed)]


def _make(facts: Facts, rng: random.Random, kind: str) -> Document:
    if kind in ("list", "chain"):
        if kind == "list":
            told = rng.sample(facts.sentences, FACTS_PER_LIST)
        else:
            told = [facts.sentence(name) for name in facts.chain(rng.choice(list(facts.next)), 7)]
        return Document(kind, None, " ".join(f"I recall that {fact}." for fact in told), ends=False)
    if kind == "echo":
        queries = [draw_query(facts, rng, rng.choice(tuple(STYLES)), (1, 7)) for _ in range(ECHOES)]
        return Document(kind, None, "\n".join(f"{ask(query)} {opening(query)}" for query in queries), ends=False)
    style = rng.choice(tuple(STYLES))
    hops = (1, 7) if kind == "restate" else (1, 2)
    stem, context, options, _ = make_question(facts, rng, style, hops, rng.choice(OPTIONS))
    text = "\n".join([*([context] if context else []), stem, *options_lines(tuple(options))])
    query = read_query(text)
    assert query is not None
    if kind == "direct":
        answer = UNCLEAR if style == "trend" else follow(facts, query, None, rng)[2]
        return Document(kind, evaluation_prompt(text, "plain"), box(query, answer), ends=True)
    written = opening(query) if kind == "restate" else "\n".join(think(facts, query, rng, draw_rechecks(rng)))
    prompt = evaluation_prompt(text, rng.choice(("cot", "thinking_bare")))
    return Document(kind, prompt, written, ends=kind == "steps")
