"""The embedded default: a model in this process, by transformers, on a CPU or a GPU."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m1.core.pretrained import load
from m1.engines.protocol import Done, Generation, ModelFacts, Request, Waiting

PROMPT_TOKENS = 1 << 15
"""Tokens of prompts in a batch at most, padding included: long prompts run in smaller batches, so that memory stays
bounded."""


@dataclass(frozen=True)
class TransformersOptions:
    """This engine has no options."""


class TransformersEngine:
    """A causal model in this process, on a GPU if there is one.

    Requests run in batches of up to ``batch``; a batch shrinks as its members finish.
    """

    def __init__(self, folder: str | Path, dtype: str, batch: int) -> None:
        import torch
        import transformers

        self.facts = ModelFacts.from_folder(folder)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        model: Any = load(transformers.AutoModelForCausalLM, folder, dtype=getattr(torch, dtype))
        self.model = model.to(self.device).eval()
        card = torch.cuda.get_device_name() if self.device == "cuda" else "CPU"
        versions = {"transformers": transformers.__version__, "torch": str(torch.__version__)}
        attention = {"attention_backend": model.config._attn_implementation}
        self.ran: dict[str, Any] = {"device": card, "versions": versions, **attention}
        """How it runs, for the manifest."""
        self.batch = batch

    def generate(self, requests: Iterable[Request], done: Done) -> None:
        """Generate for every request and what follows; see :class:`m1.engines.protocol.Engine`."""
        waiting = Waiting(requests, self.facts.positions)
        while batch := self._take(waiting):
            self._run(batch, waiting, done)

    def _take(self, waiting: Waiting) -> list[Request]:
        """The next requests that run together."""
        batch: list[Request] = []
        longest = 0
        while len(batch) < self.batch and (request := waiting.take()):
            longest = max(longest, len(request.prompt))
            if batch and (len(batch) + 1) * longest > PROMPT_TOKENS:
                waiting.put_back(request)
                break
            batch.append(request)
        return batch

    def _run(self, requests: list[Request], waiting: Waiting, done: Done) -> None:
        import torch

        with torch.inference_mode():
            rows = list(range(len(requests)))
            prompts = [list(requests[i].prompt) for i in rows]
            width = max(map(len, prompts))
            ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts], device=self.device)
            real = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
            mask = torch.tensor(real, device=self.device)
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            cache = _growing_cache(self.model.config, width + max(requests[i].max_tokens for i in rows))
            generated: dict[int, list[int]] = {i: [] for i in rows}
            chance = {i: random.Random(requests[i].seed) for i in rows if requests[i].temperature}
            while True:
                cached = {"past_key_values": cache, "use_cache": True, "logits_to_keep": 1}
                logits = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, **cached).logits[:, -1]
                tokens = logits.argmax(-1)
                for place, i in enumerate(rows):
                    if i in chance:
                        temperature, top_p = requests[i].temperature, requests[i].top_p
                        tokens[place] = _draw_token(logits[place], temperature, top_p, chance[i].random())
                kept = []
                for place, (i, token) in enumerate(zip(rows, tokens.tolist())):
                    if token in requests[i].stop or token in self.facts.ends:
                        waiting.follow(done(requests[i], Generation(tuple(generated[i]), "stop")))
                        continue
                    generated[i].append(token)
                    if len(generated[i]) < requests[i].max_tokens:
                        kept.append(place)
                    else:
                        waiting.follow(done(requests[i], Generation(tuple(generated[i]), "length")))
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


def _draw_token(logits: Any, temperature: float, top_p: float, chance: float) -> Any:
    """The token at the place ``chance``, uniform in [0, 1), of the cumulated probabilities of ``logits``, a vector over
    the vocabulary. Each request has its own numbers, so its batch does not matter."""
    probabilities, tokens = (logits.float() / temperature).softmax(-1).sort(descending=True, stable=True)
    before = probabilities.cumsum(-1) - probabilities
    probabilities = probabilities * (before < top_p)  # the most probable token always stays
    sums = probabilities.cumsum(-1)
    place = int((sums <= chance * sums[-1]).sum())
    return tokens[min(place, int((probabilities > 0).sum()) - 1)]


def _growing_cache(config: Any, capacity: int) -> Any:
    """A key-value cache for ``capacity`` positions that is written in place; appending to it does not copy what is
    there."""
    import torch
    from transformers.cache_utils import Cache, DynamicLayer

    class Layer(DynamicLayer):
        used = 0

        def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
                rows, heads, _, size = key_states.shape
                shape = rows, heads, capacity, size
                self.room = [torch.empty(shape, dtype=self.dtype, device=self.device) for _ in range(2)]
            end = self.used + key_states.shape[-2]
            for buffer, states in zip(self.room, (key_states, value_states)):
                buffer[:, :, self.used : end] = states
            self.used = end
            self.keys, self.values = (buffer[:, :, :end] for buffer in self.room)
            return self.keys, self.values

        def batch_select_indices(self, indices: Any) -> None:
            # Rows move up within the buffers; only what is used is copied.
            for buffer in self.room:
                buffer[: len(indices), :, : self.used] = buffer[indices, :, : self.used]
            self.room = [buffer[: len(indices)] for buffer in self.room]

    return Cache(layers=[Layer() for _ in range(config.get_text_config().num_hidden_layers)])
