"""Greedy generation, tokens in and tokens out, with everything generated kept in the store (3.3, B.3)."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from m1.errors import UserError
from m1.files import digest, model_identity
from m1.progress import Progress
from m1.store import Store

PROMPT_TOKENS = 1 << 15
"""Tokens of prompts in a batch at most, padding included: long prompts run in smaller batches, so that memory stays bounded."""


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt as token ids, and how many tokens may be generated after it, the stop token included."""

    prompt: tuple[int, ...]
    max_tokens: int
    stop: tuple[int, ...]
    """Token ids that end the generation."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What was generated, without the stop token.

    A stop token that is exactly the last token allowed counts as a stop: thinking of m tokens with it has ended
    by itself at every budget >= m.
    """

    token_ids: tuple[int, ...]
    finish_reason: str
    """``stop`` or ``length``."""

    @property
    def tokens(self) -> int:
        """Tokens generated, the stop token included."""
        return len(self.token_ids) + (self.finish_reason == "stop")


class Engine(Protocol):
    """One model, greedy; ``done`` is called with the position of each request as it finishes."""

    def generate(self, requests: Sequence[Request], done: Callable[[int, Generation], None]) -> None: ...


class TransformersEngine:
    """A causal model in this process, by transformers, on a GPU if there is one.

    Requests are sorted by length and run in batches; a batch shrinks as its members finish.

    Args:
        folder: model and tokenizer in Hugging Face format.
        dtype: of weights and arithmetic, for example ``float32`` or ``bfloat16``.
        batch: requests at a time.
    """

    def __init__(self, folder: str | Path, dtype: str, batch: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
        self.model = model.to(self.device).eval()
        self.batch = batch

    def generate(self, requests: Sequence[Request], done: Callable[[int, Generation], None]) -> None:
        """Generate for every request; see :class:`Engine`."""
        limit = getattr(self.model.config, "max_position_embeddings", None)
        for position, request in enumerate(requests):
            if limit is not None and len(request.prompt) + request.max_tokens > limit:
                size = f"a prompt of {len(request.prompt):,} tokens and {request.max_tokens:,} to generate"
                raise UserError(
                    f"request {position}: {size} exceed the {limit:,} positions of the model; choose smaller budgets or another model"
                )
        order = sorted(range(len(requests)), key=lambda i: (len(requests[i].prompt), requests[i].max_tokens))
        start = 0
        while start < len(order):
            rows = order[start : start + self.batch]
            while len(rows) > 1 and len(rows) * len(requests[rows[-1]].prompt) > PROMPT_TOKENS:
                rows.pop()
            self._run(rows, requests, done)
            start += len(rows)

    def _run(self, rows: list[int], requests: Sequence[Request], done: Callable[[int, Generation], None]) -> None:
        import torch

        with torch.inference_mode():
            width = max(len(requests[i].prompt) for i in rows)
            ids = torch.tensor([[0] * (width - len(requests[i].prompt)) + list(requests[i].prompt) for i in rows], device=self.device)
            mask = torch.tensor([[0] * (width - len(requests[i].prompt)) + [1] * len(requests[i].prompt) for i in rows], device=self.device)
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            cache = _growing_cache(self.model.config, width + max(requests[i].max_tokens for i in rows))
            generated: dict[int, list[int]] = {i: [] for i in rows}
            while True:
                logits = self.model(
                    input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
                ).logits
                tokens = logits[:, -1].argmax(-1)
                kept = []
                for place, (i, token) in enumerate(zip(rows, tokens.tolist())):
                    if token in requests[i].stop:
                        done(i, Generation(tuple(generated[i]), "stop"))
                        continue
                    generated[i].append(token)
                    if len(generated[i]) == requests[i].max_tokens:
                        done(i, Generation(tuple(generated[i]), "length"))
                        continue
                    kept.append(place)
                if not kept:
                    return
                if len(kept) < len(rows):
                    index = torch.tensor(kept, device=self.device)
                    rows = [rows[place] for place in kept]
                    tokens, mask, positions = tokens[index], mask[index], positions[index]
                    cache.batch_select_indices(index)
                ids = tokens[:, None]
                mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
                positions = positions[:, -1:] + 1


def _growing_cache(config: Any, capacity: int) -> Any:
    """A key-value cache for ``capacity`` positions that is written in place; appending to it does not copy what is there."""
    import torch
    from transformers.cache_utils import Cache, DynamicLayer

    class Layer(DynamicLayer):
        used = 0

        def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
                rows, heads, _, size = key_states.shape
                self.room = [torch.empty(rows, heads, capacity, size, dtype=self.dtype, device=self.device) for _ in range(2)]
            end = self.used + key_states.shape[-2]
            self.room[0][:, :, self.used : end] = key_states
            self.room[1][:, :, self.used : end] = value_states
            self.used = end
            self.keys, self.values = self.room[0][:, :, :end], self.room[1][:, :, :end]
            return self.keys, self.values

        def batch_select_indices(self, indices: Any) -> None:
            # Rows move up within the buffers; only what is used is copied.
            for buffer in self.room:
                buffer[: len(indices), :, : self.used] = buffer[indices, :, : self.used]
            self.room = [buffer[: len(indices)] for buffer in self.room]

    return Cache(layers=[Layer() for _ in range(config.get_text_config().num_hidden_layers)])


class KeptEngine:
    """An engine whose generations are kept in the store: equal requests are generated once, and none is generated again after a kill.

    Args:
        start: makes the engine, called only when something must be generated.
        identity: what defines the model's answers: weights, engine, dtype.
        title: for the progress line.
    """

    def __init__(self, start: Callable[[], Engine], identity: Any, store: Store, title: str) -> None:
        self._start, self.identity, self.store, self.title = start, digest(identity), store, title
        self._engine: Engine | None = None
        self.generated = 0
        """Tokens generated in this run; what came from the store is not counted."""

    def generate(self, requests: Sequence[Request], what: str) -> list[Generation]:
        """Generations in the order of the requests; ``what`` names them on the progress line."""
        keys = [digest([self.identity, request.prompt, request.max_tokens, request.stop]) for request in requests]
        wanted = {key: request for key, request in zip(keys, requests) if key not in self.store}
        if wanted:
            self._engine = self._engine or self._start()
            names = list(wanted)
            waiting: list[tuple[str, dict[str, Any]]] = []
            with Progress(f"{self.title}: {what}", len(wanted), "generations") as progress:

                def done(position: int, generation: Generation) -> None:
                    self.generated += generation.tokens
                    waiting.append((names[position], {"token_ids": generation.token_ids, "finish_reason": generation.finish_reason}))
                    if len(waiting) >= 64:
                        self.store.put_many(waiting)
                        waiting.clear()
                    progress.advance(note=f"{self.generated:,} tokens")

                self._engine.generate(list(wanted.values()), done)
                self.store.put_many(waiting)
        return [Generation(tuple(value["token_ids"]), value["finish_reason"]) for value in map(self.store.get, keys)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of every step that generates; :func:`opened` takes them."""
    parser.add_argument("--name", required=True, help="the model's key")
    parser.add_argument("--model", required=True, type=Path, help="folder of the model")
    parser.add_argument("--serve", required=True, type=json.loads, help="JSON: engine, dtype")
    parser.add_argument("--batch", required=True, type=int, help="requests at a time; decides no answer")
    parser.add_argument("--store", required=True, type=Path, help="folder of the store of generations")
    parser.add_argument("--output", required=True, type=Path, help="Parquet")
    parser.add_argument("--manifest", required=True, type=Path, help="JSON")


@contextmanager
def opened(arguments: argparse.Namespace, title: str) -> Iterator[tuple[KeptEngine, Any, str]]:
    """The engine that a recipe's ``serve`` asks for, over its store, the model's tokenizer, and its identity; see :func:`add_arguments`."""
    from transformers import AutoTokenizer

    serve, folder = arguments.serve, arguments.model
    if serve["engine"] != "transformers":
        raise UserError(f"{title}: serve.engine is {serve['engine']!r}; this version runs 'transformers'")
    model = model_identity(folder)
    with Store(arguments.store) as store:
        engine = KeptEngine(
            lambda: TransformersEngine(folder, serve["dtype"], arguments.batch), [model, serve["engine"], serve["dtype"]], store, title
        )
        yield engine, AutoTokenizer.from_pretrained(folder), model
