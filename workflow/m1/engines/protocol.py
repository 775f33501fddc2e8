"""The protocol of engines: one model, tokens in and tokens out (3.3, B.3). There are three engines; docs/paper.md
compares them.

A generation ends with a stop token of the request or of the model itself, or at its limit. A stop token that is exactly
the last token allowed counts as a stop, on every engine: it is read from the token ids, never from what a server calls
its finish reason. So thinking of m tokens with the stop token has ended by itself at every budget >= m.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from m1.core.errors import UserError
from m1.core.files import read_json


@dataclass(frozen=True, slots=True)
class Request:
    """A request to generate tokens after a prompt.

    At temperature 0, decoding is greedy. Otherwise tokens are drawn with the seed, from the smallest set of tokens
    whose probabilities add up to ``top_p``.
    """

    prompt: tuple[int, ...]  # token ids
    max_tokens: int  # the most tokens to generate, including the stop token
    stop: tuple[int, ...]  # ids that end the generation, besides those of the model's own configuration
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    group: int = field(default=0, compare=False)
    """Number of the question. The requests of one question share a beginning, so an engine may send them to one replica
    or keep their cache. The group decides no token."""

    @property
    def defining(self) -> list[Any]:
        """Everything besides the model that defines the generation: the request's part of the key in the store."""
        sampling = [self.temperature, self.top_p, self.seed] if self.temperature else []
        return [self.prompt, self.max_tokens, self.stop, *sampling]


@dataclass(frozen=True, slots=True)
class Generation:
    """The tokens generated for a request, without the stop token; ``finish_reason`` is ``stop`` or ``length``."""

    token_ids: tuple[int, ...]
    finish_reason: str

    @property
    def tokens(self) -> int:
        """Number of tokens generated, including the stop token."""
        return len(self.token_ids) + (self.finish_reason == "stop")


Done = Callable[[Request, Generation], Iterable[Request]]
"""Called with each finished request; returns the requests that follow from it."""


class Engine(Protocol):
    """One model that generates tokens."""

    def generate(self, requests: Iterable[Request], done: Done) -> None:
        """Generate for every request, and for all requests that follow from them.

        The engine takes requests one by one, whenever it has room, so the iterable may be long and lazy. It calls
        ``done`` in the caller's thread as each request finishes, with the very object that it took. The requests that
        ``done`` returns come before the rest of ``requests``. A group's cache is useful as long as a request of the
        group waits or is in flight after ``done`` has returned.

        Raises:
            UserError: a request exceeds the model's positions; this is noticed when the engine takes it.
        """


class Waiting:
    """The queue from which an engine takes requests: those that follow from a generation first, then the others.

    ``positions`` is the model's number of positions; None if unknown.
    """

    def __init__(self, requests: Iterable[Request], positions: int | None) -> None:
        self._source, self._positions = iter(requests), positions
        self.following: deque[Request] = deque()
        """Requests that follow from a generation and have not been taken; an engine may look ahead at them."""

    def take(self) -> Request | None:
        """Take the next request; None if no request waits.

        Raises:
            UserError: the request exceeds the model's positions.
        """
        request = self.following.popleft() if self.following else next(self._source, None)
        if request and self._positions is not None and len(request.prompt) + request.max_tokens > self._positions:
            size = f"a prompt of {len(request.prompt):,} tokens and {request.max_tokens:,} to generate"
            exceeded = f"{size} exceed the {self._positions:,} positions of the model"
            raise UserError(f"a request: {exceeded}; choose smaller budgets or another model")
        return request

    def follow(self, requests: Iterable[Request]) -> None:
        """Add requests that follow from a generation."""
        self.following.extend(requests)

    def put_back(self, request: Request) -> None:
        """Return a request for which there is no room yet."""
        self.following.appendleft(request)


@dataclass(frozen=True)
class ModelFacts:
    """Facts about a model from its own files; None if its configuration does not say."""

    positions: int | None
    """The most tokens of prompt and generation together."""
    vocabulary: int | None
    """Number of token ids; all ids are below it."""
    ends: frozenset[int]
    """Token ids that end a generation."""

    def stops(self, request: Request) -> list[int]:
        """All ids that end a generation, sorted. A server gets them all, as it may read other files of the model."""
        return sorted({*request.stop, *self.ends})

    @classmethod
    def from_folder(cls, folder: str | Path) -> ModelFacts:
        """Read ``config.json``, and ``generation_config.json`` if there is one, of a model in Hugging Face format."""
        config, path = read_json(Path(folder) / "config.json"), Path(folder) / "generation_config.json"
        text = config.get("text_config", config)
        ends: set[int] = set()
        for part in (config, text, read_json(path) if path.exists() else {}):
            found = part.get("eos_token_id")
            ends |= set(found if isinstance(found, list) else [] if found is None else [found])
        return cls(text.get("max_position_embeddings"), text.get("vocab_size"), frozenset(ends))


def to_generation(ids: Iterable[int], request: Request, facts: ModelFacts, server: str, said: Any) -> Generation:
    """Check a server's token ids, and turn them into a generation.

    The ``ids`` include the stop token; messages name the ``server`` and what it ``said`` as its finish reason.

    Raises:
        UserError: the model does not have one of the ids, or the generation ends with neither a stop token nor at the
            limit.
    """
    found = tuple(ids)
    if facts.vocabulary is not None and any(not 0 <= token < facts.vocabulary for token in found):
        raise UserError(
            f"{server}: token id {max(found)} is beyond the {facts.vocabulary:,} of the recipe's model: another model "
            "is served. Serve the model of the recipe."
        )
    ends = facts.stops(request)
    passed = [token for token in found[:-1] if token in ends]
    if passed:
        raise UserError(
            f"{server}: a generation goes on after token {passed[0]}, which ends it; it must stop at each of {ends}. A "
            "server that obeys stop_token_ids is needed."
        )
    if found and found[-1] in ends:
        return Generation(found[:-1], "stop")
    if len(found) == request.max_tokens:
        return Generation(found, "length")
    raise UserError(
        f"{server}: a generation ended after {len(found):,} of {request.max_tokens:,} tokens, the last of them "
        f"{found[-1:]}, and that is no stop token {ends} (it says: "
        f"{json.dumps(said)}). The prompt has {len(request.prompt):,} tokens: check the server's context length, and "
        "that it serves the model of the recipe."
    )
