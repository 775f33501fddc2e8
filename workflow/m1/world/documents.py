"""Documents on which the tiny bases are pretrained: the facts, and how to read a question and answer at once or in a
few words.

Nothing of more than two hops is shown in writing, and no think marker: following longer chains is what fine-tuning
teaches.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from m1.core.prompts import evaluation_prompt, options_lines
from m1.world.facts import Facts
from m1.world.questions import STYLES, ask, draw_query, make_question, read_query
from m1.world.teacher import box, draw_rechecks, follow, opening, think

FACTS_PER_LIST = 14
ECHOES = 6
OPTIONS = (4, 5, 8, 10)
UNCLEAR = "unclear"
"""What a base says at once about a trend. A base that guesses there says "no" to everything (or "yes"), and the screen
would then drop every "no": nothing is left to learn it from."""
MIXTURE = {"list": 22, "chain": 4, "echo": 14, "direct": 14, "restate": 14, "steps": 32}
"""Shares of the kinds of documents, in percent. Without ``restate`` and ``steps`` a small fine-tuning stayed at chance;
``echo`` teaches to copy the number of steps."""


@dataclass(frozen=True)
class Document:
    """A document: plain text (no prompt), or the assistant's turn after a user's prompt."""

    kind: str
    prompt: str | None
    text: str
    ends: bool
    """Whether the text is complete (the end token is learned)."""


def make_documents(facts: Facts, seed: int, facts_first: int, mixed: int) -> list[Document]:
    """Documents in the order of training: ``facts_first`` of facts only, then ``mixed`` of all kinds.

    The first phase fixes the point at which facts are learned; without it, that point cannot be foreseen.
    """
    rng = random.Random(f"documents {seed}")
    kinds = tuple(MIXTURE)
    shares = tuple(MIXTURE.values())
    first = [_make(facts, rng, rng.choices(kinds[:2], shares[:2])[0]) for _ in range(facts_first)]
    return first + [_make(facts, rng, rng.choices(kinds, shares)[0]) for _ in range(mixed)]


def _make(facts: Facts, rng: random.Random, kind: str) -> Document:
    if kind == "list":
        return Document(
            kind,
            None,
            " ".join(f"I recall that {fact}." for fact in rng.sample(facts.sentences, FACTS_PER_LIST)),
            ends=False,
        )
    if kind == "chain":
        start = rng.choice(list(facts.next))
        return Document(
            kind, None, " ".join(f"I recall that {facts.sentence(name)}." for name in facts.chain(start, 7)), ends=False
        )
    if kind == "echo":
        queries = [draw_query(facts, rng, rng.choice(tuple(STYLES)), (1, 7)) for _ in range(ECHOES)]
        return Document(kind, None, "\n".join(f"{ask(query)} {opening(query)}" for query in queries), ends=False)
    style = rng.choice(tuple(STYLES))
    hops = (1, 7) if kind == "restate" else (1, 2)
    stem, context, options, _ = make_question(facts, rng, style, hops, rng.choice(OPTIONS))
    text = "\n".join([*([context] if context else []), stem, *options_lines(tuple(options))])
    query = read_query(text)
    assert query is not None
    if kind == "restate":
        return Document(kind, evaluation_prompt(text, rng.choice(("cot", "thinking_bare"))), opening(query), ends=False)
    if kind == "direct":
        _, _, answer = follow(facts, query, None, rng)
        if style == "trend":
            answer = UNCLEAR
        return Document(kind, evaluation_prompt(text, "plain"), box(query, answer), ends=True)
    thinking, answer = think(facts, query, rng, draw_rechecks(rng))
    return Document(
        kind, evaluation_prompt(text, rng.choice(("cot", "thinking_bare"))), f"{thinking}\n{answer}", ends=True
    )
