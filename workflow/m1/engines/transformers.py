"""Generate with transformers in this process, on a CPU or a GPU; the default engine."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from m1.core.errors import UserError
from m1.core.pretrained import load
from m1.engines.protocol import Done, Generation, ModelFacts, Request, Waiting

READ_TOKENS = 1 << 13
"""The most tokens of prompts, with padding, that one forward pass reads, so that activations stay bounded. A single
prompt may be longer."""
FEW_TOKENS = 32
"""Reading up to this many tokens again costs less than a forward pass of its own, or a copy of the cache."""


@dataclass(frozen=True)
class TransformersOptions:
    """This engine has no options."""


class TransformersEngine:
    """A causal model in this process, on a GPU if there is one.

    Up to ``batch`` requests are in flight, or fewer if their key-value cache would exceed ``cache_bytes``. A request
    that ends makes room for the next one (continuous batching).
    """

    # Not transformers' own continuous batching (generate_batch, 5.23): it has one seed for all requests, shares a
    # prefix in whole blocks only, turns an error of its loop into log lines and missing results, and was seven times
    # slower here on a CPU (426 tokens a second against 2,911, 3.2 million parameters).
    def __init__(self, folder: str | Path, dtype: str, batch: int) -> None:
        import torch
        import transformers
        from transformers import AutoConfig, AutoModelForCausalLM

        from m1.core.attention import avoid_cudnn
        from m1.engines.row_cache import cache_bytes, token_bytes

        self.facts = ModelFacts.from_folder(folder)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        kind, config = getattr(torch, dtype), load(AutoConfig, folder)
        if self.device == "cuda":
            check_weights(folder, config, kind)
        avoid_cudnn()
        model: Any = load(AutoModelForCausalLM, folder, dtype=kind)
        self.model = model.to(self.device).eval()
        card = torch.cuda.get_device_name() if self.device == "cuda" else "CPU"
        versions = {"transformers": transformers.__version__, "torch": str(torch.__version__)}
        attention = {"attention_backend": model.config._attn_implementation}
        self.ran: dict[str, Any] = {"device": card, "versions": versions, **attention}
        """How the model runs, for the manifest."""
        self.batch = batch
        self.token_bytes = token_bytes(config, kind)
        self.cache_bytes = cache_bytes(self.device)

    def generate(self, requests: Iterable[Request], done: Done) -> None:
        """Generate for every request and what follows (:class:`m1.engines.protocol.Engine`)."""
        import torch

        with torch.inference_mode():
            _Run(self, requests, done).run()


def check_weights(folder: str | Path, config: Any, dtype: Any) -> None:
    """Refuse a model whose weights alone exceed the GPU's free memory, before minutes are spent on loading it.

    Raises:
        UserError: gives both sizes, and what to do.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    needed, free = sum(part.numel() * dtype.itemsize for part in model.parameters()), torch.cuda.mem_get_info()[0]
    if needed > free:
        sizes = f"its weights take {needed / 2**30:.1f} GiB, and the GPU has {free / 2**30:.1f} GiB free"
        raise UserError(f"{folder}: {sizes}. Serve it over several GPUs: serve.engine sglang with options.tp")


@dataclass(eq=False)
class _Row:
    """A request in flight."""

    request: Request
    ends: frozenset[int]
    tokens: list[int] = field(init=False)
    """Token ids of the prompt, and those generated so far."""
    cached: int = 0
    """Number of tokens whose keys and values exist: in the batch or, before the row is read, in ``kept``."""
    kept: Any = None
    """Keys and values of the beginning, from a finished request of the same group."""

    def __post_init__(self) -> None:
        self.tokens = list(self.request.prompt)
        self.random = random.Random(self.request.seed) if self.request.temperature else None

    @property
    def longest(self) -> int:
        return len(self.request.prompt) + self.request.max_tokens

    @property
    def generated(self) -> tuple[int, ...]:
        return tuple(self.tokens[len(self.request.prompt) :])


class _Run:
    """One call of :meth:`TransformersEngine.generate`."""

    def __init__(self, engine: TransformersEngine, requests: Iterable[Request], done: Done) -> None:
        from m1.engines.row_cache import RowCache

        self.engine, self.done = engine, done
        self.waiting = Waiting(requests, engine.facts.positions)
        self.cache = RowCache(engine.model.config)
        tokens = engine.cache_bytes // engine.token_bytes
        # A quarter of the room is for the beginnings that finished requests leave to following ones (_keep).
        self.most_kept, self.room = tokens // 4, tokens - tokens // 4
        self.active: list[_Row] = []
        self.kept: dict[int, list[tuple[Sequence[int], Any]]] = {}
        """By group, the kept beginnings: token ids, and their keys and values."""

    def run(self) -> None:
        while (admitted := self._admit()) or self.active:
            for group in _reading_groups(admitted):
                first = len(self.active)
                self._paste(group)
                self._pass(first, len(group[0].tokens) - group[0].cached)
            if admitted and self.kept:
                self._forget()
            if self.active:
                self.cache.advance(len(self.active), self._width())
                self._pass(0, 1)

    def _width(self) -> int:
        return max((row.cached for row in self.active), default=0)

    def _admit(self) -> list[_Row]:
        """Take as many further requests as there is room for, and make their rows.

        While less than an eighth of the rows is free, none is taken: reading a prompt stops all other rows, so several
        prompts should be read together.
        """
        from m1.engines.row_cache import columns_for

        if self.active and (self.cache.rows - len(self.active)) * 8 < self.cache.rows:
            return []
        admitted: list[_Row] = []
        longest, columns = max((row.longest for row in self.active), default=0), 0
        while len(self.active) + len(admitted) < self.engine.batch and (request := self.waiting.take()):
            row = _Row(request, self.engine.facts.ends.union(request.stop))
            wanted = columns_for(max(longest, row.longest))
            if (len(self.active) + len(admitted) + 1) * wanted > self.room:
                if not self.active and not admitted:
                    self._refuse(row, wanted)
                self.waiting.put_back(request)
                break
            admitted.append(row)
            longest, columns = max(longest, row.longest), wanted
        if columns > self.cache.columns or len(self.active) + len(admitted) > self.cache.rows:
            rows = min(self.engine.batch, self.room // columns)
            self.cache.resize(rows, columns, len(self.active), self._width())
        self._match(admitted)
        return admitted

    def _refuse(self, row: _Row, columns: int) -> None:
        size = f"a prompt of {len(row.request.prompt):,} tokens and {row.request.max_tokens:,} to generate"
        there = f"{self.room:,} tokens ({self.engine.cache_bytes / 2**30:.1f} GiB, a quarter of it set apart)"
        raise UserError(
            f"{size} need {columns:,} tokens of key-value cache; the {self.engine.device} has room for {there}. Choose "
            "smaller budgets, or serve the model over several GPUs: serve.engine sglang with options.tp"
        )

    def _match(self, admitted: Sequence[_Row]) -> None:
        """Find for each row the longest kept beginning of its group."""
        for row in admitted:
            for tokens, kept in self.kept.get(row.request.group, ()):
                common = _common(tokens, row.request.prompt)
                if common > row.cached:
                    row.cached, row.kept = common, kept

    def _forget(self) -> None:
        """Free the kept beginnings of groups without a waiting request."""
        groups = {request.group for request in self.waiting.following}
        self.kept = {group: found for group, found in self.kept.items() if group in groups}

    def _paste(self, group: Sequence[_Row]) -> None:
        """Add rows to the batch, each with its kept beginning; the forward pass reads the rest of its prompt."""
        for row in group:
            if row.cached:
                self.cache.paste(len(self.active), len(row.tokens), row.cached, row.kept)
            row.kept = None
            self.active.append(row)

    def _pass(self, first: int, queries: int) -> None:
        """Run the model on the last ``queries`` tokens of the rows from ``first`` on; take each row's next token."""
        import torch

        rows, device = self.active[first:], self.engine.device
        lengths = [len(row.tokens) for row in rows]
        width = max(lengths)
        ids = [[0] * (queries - length) + row.tokens[-queries:] for row, length in zip(rows, lengths)]
        ends = torch.tensor(lengths, device=device)[:, None]
        mask = (torch.arange(width, device=device) >= width - ends).long()
        positions = (torch.arange(-queries, 0, device=device) + ends).clamp(min=0)
        self.cache.show(first, len(self.active), width, queries)
        logits = self.engine.model(
            input_ids=torch.tensor(ids, device=device), attention_mask=mask, position_ids=positions,
            past_key_values=self.cache, use_cache=True, logits_to_keep=1,
        ).logits[:, -1]  # fmt: skip
        tokens = logits.argmax(-1)
        for place, row in enumerate(rows):
            row.cached = len(row.tokens)
            if row.random:
                request = row.request
                tokens[place] = _draw_token(logits[place], request.temperature, request.top_p, row.random.random())
        ended = []
        for place, (row, token) in enumerate(zip(rows, tokens.tolist()), first):
            if token in row.ends:
                generation = Generation(row.generated, "stop")
            else:
                row.tokens.append(token)
                if len(row.tokens) < row.longest:
                    continue
                generation = Generation(row.generated, "length")
            self.waiting.follow(self.done(row.request, generation))
            self._keep(place)
            ended.append(place)
        self._remove(ended)

    def _keep(self, place: int) -> None:
        """Keep the part of a finished row's cache that a waiting request of its group begins with, if there is room.

        Without room, that request reads its beginning again.
        """
        row = self.active[place]
        found = self.kept.get(row.request.group, [])
        tokens, wanted = row.tokens[: row.cached], 0
        for request in self.waiting.following:
            if request.group == row.request.group:
                common = _common(tokens, request.prompt)
                if common > FEW_TOKENS // 4 + max((_common(other, request.prompt) for other, _ in found), default=0):
                    wanted = max(wanted, common)
        held = sum(len(tokens) for entries in self.kept.values() for tokens, _ in entries)
        if wanted and held + wanted <= self.most_kept:
            entry = tokens[:wanted], self.cache.copy(place, row.cached, wanted)
            self.kept[row.request.group] = [*found, entry]

    def _remove(self, ended: Sequence[int]) -> None:
        """Remove finished rows from the batch; the last rows move into their places."""
        if not ended:
            return
        left = len(self.active) - len(ended)
        holes = [place for place in ended if place < left]
        movers = sorted({*range(left, len(self.active))} - {*ended})
        if movers:
            self.cache.move(movers, holes, self._width())
        for hole, mover in zip(holes, movers, strict=True):
            self.active[hole] = self.active[mover]
        del self.active[left:]


def _common(one: Sequence[int], prompt: Sequence[int]) -> int:
    """Number of tokens that both begin with. The prompt's last token never counts: reading it gives the next token."""
    most = min(len(one), len(prompt) - 1)
    return next((place for place in range(most) if one[place] != prompt[place]), most)


def _reading_groups(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    """Group rows that are read together.

    All rows of a group read as many tokens as the one that has most to read. The others read a part of their kept
    beginning again, so that all end at one column, and only short prompts are padded.
    """
    group: list[_Row] = []
    for row in sorted(rows, key=lambda row: row.cached - len(row.tokens)):
        if group:
            unread, queries = len(row.tokens) - row.cached, len(group[0].tokens) - group[0].cached
            if queries - unread > max(FEW_TOKENS, unread) or (len(group) + 1) * queries > READ_TOKENS:
                yield group
                group = []
            else:
                row.cached = max(0, len(row.tokens) - queries)
        group.append(row)
    if group:
        yield group


def _draw_token(logits: Any, temperature: float, top_p: float, chance: float) -> Any:
    """Draw a token by nucleus sampling: from the most probable tokens, up to a sum of probabilities of ``top_p``.

    The random number (``chance``, in [0, 1)) is an argument, so the draw does not depend on the batch. The ``logits``
    are a vector over the vocabulary.
    """
    probabilities, tokens = (logits.float() / temperature).softmax(-1).sort(descending=True, stable=True)
    before = probabilities.cumsum(-1) - probabilities
    probabilities = probabilities * (before < top_p)  # the most probable token always stays
    sums = probabilities.cumsum(-1)
    place = int((sums <= chance * sums[-1]).sum())
    return tokens[min(place, int((probabilities > 0).sum()) - 1)]
