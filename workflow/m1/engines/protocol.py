"""What an engine is: one model, tokens in and tokens out (3.3, B.3). The package holds three of them; docs/paper.md
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
    """A prompt as token ids, how many tokens may be generated after it, the stop token included, and the ids that end
    the generation, beside those that the model's own configuration names.

    At temperature 0 decoding is greedy; else tokens are drawn with the seed, from the smallest set of probability
    ``top_p``.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    stop: tuple[int, ...]
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    group: int = field(default=0, compare=False)
    """The requests of one question have one group, since they have a beginning in common. It decides no token: an
    engine may send a group to one replica, or keep its cache."""

    @property
    def defining(self) -> list[Any]:
        """What defines the generation, beside the model: its part of the key in the store."""
        sampling = [self.temperature, self.top_p, self.seed] if self.temperature else []
        return [self.prompt, self.max_tokens, self.stop, *sampling]


@dataclass(frozen=True, slots=True)
class Generation:
    """What was generated, without the stop token; it ended by ``stop`` or ``length``."""

    token_ids: tuple[int, ...]
    finish_reason: str

    @property
    def tokens(self) -> int:
        """Tokens generated, the stop token included."""
        return len(self.token_ids) + (self.finish_reason == "stop")


Done = Callable[[Request, Generation], Iterable[Request]]
"""Takes a request that has finished, and returns the requests that follow from it."""


class Engine(Protocol):
    """One model."""

    def generate(self, requests: Iterable[Request], done: Done) -> None:
        """Generate for every request, and for all that follow from them.

        ``requests`` is taken from as there is room, so it may be long and made as it goes. ``done`` is called in the
        caller's thread as each finishes, with the very object that was taken. What it returns goes before what is
        left of ``requests``. A group's cache is of use as long as a request of the group waits or is in flight after
        ``done`` has returned.

        Raises:
            UserError: a request exceeds the model's positions, which is noticed as it is taken.
        """


class Waiting:
    """Requests in the order in which an engine takes them: those that follow from a generation before those that are
    left of ``requests``; ``positions`` is the model's, None where it is not known."""

    def __init__(self, requests: Iterable[Request], positions: int | None) -> None:
        self._source, self._positions = iter(requests), positions
        self.following: deque[Request] = deque()
        """Those that follow, and have not been taken; an engine may look ahead at them."""

    def take(self) -> Request | None:
        """The next one; None if none waits.

        Raises:
            UserError: it exceeds the model's positions.
        """
        request = self.following.popleft() if self.following else next(self._source, None)
        if request is not None:
            check_length(request, self._positions)
        return request

    def follow(self, requests: Iterable[Request]) -> None:
        """Add requests that follow from a generation."""
        self.following.extend(requests)

    def put_back(self, request: Request) -> None:
        """Return a request for which there is no room yet."""
        self.following.appendleft(request)


@dataclass(frozen=True)
class ModelFacts:
    """What a model's own files say about it."""

    positions: int | None
    """Tokens of prompt and generation together at most; None, here and below, where the configuration does not say."""
    vocabulary: int | None
    """Token ids are below this."""
    ends: frozenset[int]
    """Token ids that end a generation."""

    def stops(self, request: Request) -> list[int]:
        """All ids that end a generation, for a server: it may read other files of the model, or another version."""
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


def check_length(request: Request, positions: int | None) -> None:
    """Refuse a request that exceeds the positions of a model, by a :class:`~m1.core.errors.UserError`."""
    if positions is not None and len(request.prompt) + request.max_tokens > positions:
        size = f"a prompt of {len(request.prompt):,} tokens and {request.max_tokens:,} to generate"
        exceeded = f"{size} exceed the {positions:,} positions of the model"
        raise UserError(f"a request: {exceeded}; choose smaller budgets or another model")


def to_generation(ids: Iterable[int], request: Request, facts: ModelFacts, server: str, said: Any) -> Generation:
    """The generation that a server's token ids are, which hold the stop token; ``server`` is its name for messages,
    and ``said`` its own finish reason.

    Raises:
        UserError: an id that the model does not have, or an end that is neither a stop token nor the limit.
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
