"""The embedded engine: rows that come and go, the memory of their caches, and what follows from a generation."""

from __future__ import annotations

import itertools
import json
import random
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from generations import generated, requests
from m1.core.errors import UserError
from m1.engines import row_cache
from m1.engines.protocol import Generation, Request
from m1.engines.transformers import TransformersEngine, check_weights
from m1.wiring.config import load
from m1.wiring.run import Run
from m1.wiring.screen import ScreenRules
from random_model import STOP, random_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

ROOT = Path(__file__).parents[2]
SIZES: dict[str, Any] = {
    "vocab_size": 900,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "eos_token_id": 23,
    "pad_token_id": None,
}
KINDS: dict[str, Callable[[], Any]] = {
    "qwen2, untied": lambda: Qwen2Config(**SIZES, tie_word_embeddings=False),
    "qwen2, a window": lambda: Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=9, max_window_layers=1),
    "qwen3, tied": lambda: Qwen3Config(**SIZES, tie_word_embeddings=True),
    "llama": lambda: LlamaConfig(**SIZES),
    "mistral, a window": lambda: MistralConfig(**SIZES, sliding_window=9),
    "gemma2, a window in every other layer": lambda: Gemma2Config(**SIZES, sliding_window=9, query_pre_attn_scalar=8),
    "gemma3": lambda: Gemma3TextConfig(
        **SIZES, sliding_window=9, query_pre_attn_scalar=8, layer_types=["sliding_attention", "full_attention"]
    ),
}


class Passes:
    """Rows and tokens of each pass through the model."""

    def __init__(self, engine: TransformersEngine) -> None:
        self.shapes: list[tuple[int, int]] = []
        engine.model.register_forward_pre_hook(self.note, with_kwargs=True)

    def note(self, module: Any, given: Any, named: dict[str, Any]) -> None:
        self.shapes.append(tuple(named["input_ids"].shape))

    @property
    def steps(self) -> list[int]:
        """Rows of each step of generating."""
        return [rows for rows, tokens in self.shapes if tokens == 1]

    @property
    def read(self) -> int:
        """Tokens read, padding included."""
        return sum(rows * tokens for rows, tokens in self.shapes if tokens > 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("random"))


def screening(count: int) -> list[Request]:
    """Lengths as those of the demo's screening: most answers are short, a few run to the limit."""
    rng = random.Random(3)
    limits = [160 if rng.random() < 0.05 else 1 + int(rng.expovariate(1 / 20)) for _ in range(count)]
    return [
        Request(tuple(rng.randrange(5, 900) for _ in range(rng.randint(20, 60))), min(limit, 160), ())
        for limit in limits
    ]


@pytest.mark.train
def test_rows_that_end_are_replaced(folder: Path) -> None:
    """A batch that drains before the next one has 22 % of its rows busy here, as its longest member decides."""
    engine = TransformersEngine(folder, "float32", batch=16)
    passes, asked = Passes(engine), screening(500)
    found = generated(engine, asked)
    assert [one.tokens for one in found] == [request.max_tokens for request in asked]
    busy = sum(passes.steps) / (16 * len(passes.steps))
    assert busy > 0.85
    assert len(passes.shapes) < 1.4 * len(passes.steps), "newcomers are read together, not one by one"


def chain(depth: int) -> Callable[[Request, Generation], Iterator[Request]]:
    """What a sweep asks: answers after cuts of the thinking and after all of it, and thinking that is forced on."""

    def done(request: Request, generation: Generation) -> Iterator[Request]:
        if request.max_tokens > 10:
            whole = request.prompt + generation.token_ids
            for cut in sorted(
                {len(request.prompt) + 3, len(request.prompt) + len(generation.token_ids) // 2, len(whole)}
            ):
                yield Request((*whole[:cut], 7, 8), 4, (), group=request.group)
            if request.max_tokens > 40 - depth:
                yield Request((*whole, 9), request.max_tokens - 1, request.stop, group=request.group)

    return done


def swept(engine: TransformersEngine, asked: list[Request], depth: int = 3) -> dict[Request, Generation]:
    """Generations of the requests, and of all that follow from them."""
    found: dict[Request, Generation] = {}
    following = chain(depth)

    def done(request: Request, generation: Generation) -> list[Request]:
        found[request] = generation
        return [more for more in following(request, generation) if more not in found]

    engine.generate(iter(asked), done)
    return found


def thinking(count: int) -> list[Request]:
    prompts = requests(count, 40)
    return [Request(one.prompt, 40, STOP[:4], group=number) for number, one in enumerate(prompts)]


@pytest.mark.train
@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_generates_what_its_own_generate_does(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(4)
    model: Any = AutoModelForCausalLM.from_config(KINDS[kind](), dtype=torch.float32).eval()
    model.save_pretrained(tmp_path)
    found = swept(TransformersEngine(tmp_path, "float32", batch=5), thinking(7))
    assert len(found) > 60
    for request, generation in found.items():
        ids, ends = torch.tensor([request.prompt]), sorted({*request.stop, 23})
        more = {"attention_mask": torch.ones_like(ids), "eos_token_id": ends, "pad_token_id": 0, "do_sample": False}
        expected = model.generate(ids, max_new_tokens=request.max_tokens, **more)[0, ids.shape[1] :].tolist()
        if generation.finish_reason == "stop":
            assert expected[-1] in ends
            expected.pop()
        assert (*expected,) == generation.token_ids


@pytest.mark.train
def test_no_attention_is_by_cudnn(folder: Path) -> None:
    torch.backends.cuda.enable_cudnn_sdp(True)
    TransformersEngine(folder, "float32", batch=8)
    assert not torch.backends.cuda.cudnn_sdp_enabled()


@pytest.mark.train
def test_what_follows_reads_only_what_is_new(folder: Path) -> None:
    """Nothing else than the first prompts is read, and some tokens of each request that follows: before, the thinking
    was read again for each of them."""
    engine = TransformersEngine(folder, "float32", batch=8)
    passes = Passes(engine)
    found = swept(engine, thinking(40))
    first = sum(len(request.prompt) for request in thinking(40))
    assert len(found) > 300
    assert sum(len(request.prompt) for request in found) > 8 * first
    assert passes.read < 2 * first + 3 * len(found)


@pytest.mark.train
@pytest.mark.parametrize("tokens", [1 << 20, 2400, 900])
def test_short_memory_is_obeyed_and_changes_no_token(
    folder: Path, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 900 tokens there is room for three rows, and nothing can be kept of most groups: it is read again."""
    plenty = swept(TransformersEngine(folder, "float32", batch=16), thinking(20))
    engine = TransformersEngine(folder, "float32", batch=16)
    engine.cache_bytes = tokens * engine.token_bytes
    batch_bytes, kept_bytes, kept = [0], [0], []
    copy = row_cache.RowCache.copy

    def copied(*given: Any) -> Any:
        made = copy(*given)
        kept.extend(map(weakref.ref, made))
        kept_bytes.append(sum(tensor.nbytes for ref in kept if (tensor := ref()) is not None))
        return made

    def passed(module: Any, given: Any, named: dict[str, Any]) -> None:
        layers = named["past_key_values"].layers
        batch_bytes.append(sum(buffer.nbytes for layer in layers for buffer in layer.buffers))

    monkeypatch.setattr(row_cache.RowCache, "copy", copied)
    engine.model.register_forward_pre_hook(passed, with_kwargs=True)
    passes = Passes(engine)
    assert swept(engine, thinking(20)) == plenty
    assert 0.2 * engine.cache_bytes < max(batch_bytes) <= 0.75 * engine.cache_bytes or tokens > 1e6
    assert 0 < max(kept_bytes) <= 0.25 * engine.cache_bytes
    assert max(passes.steps) == {1 << 20: 16, 2400: 9, 900: 3}[tokens]


@pytest.mark.train
def test_requests_are_taken_as_there_is_room(folder: Path) -> None:
    engine, taken, most = TransformersEngine(folder, "float32", batch=8), [0], [0]

    def source() -> Iterator[Request]:
        for request in requests(60, 20):
            taken[0] += 1
            yield request

    finished = itertools.count(1)

    def done(request: Request, generation: Generation) -> tuple[()]:
        most[0] = max(most[0], taken[0] - next(finished))
        return ()

    engine.generate(source(), done)
    assert (taken[0], most[0]) == (60, 7)


def test_a_request_for_which_there_is_no_memory_is_refused(folder: Path) -> None:
    engine = TransformersEngine(folder, "float32", batch=8)
    assert engine.token_bytes == 2 * 2 * 8 * 2 * 4
    engine.cache_bytes = 400 * engine.token_bytes
    with pytest.raises(UserError, match=r"a prompt of 200 tokens and 90 to generate need 384 tokens.*300 tokens \("):
        engine.generate([Request((5,) * 200, 90, ())], lambda *_: ())


def test_weights_beyond_the_gpu_are_refused_before_they_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10 << 10, 80 << 30))
    with pytest.raises(UserError, match=r"its weights take 0.0 GiB, and the GPU has 0.0 GiB free.*options.tp"):
        TransformersEngine(folder, "float32", batch=8)


def test_32b_has_room_for_ten_rows_on_a_card_of_80_gb_and_none_on_one_of_48(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Qwen2.5-32B's shape in bfloat16, and screening: some 300 tokens of prompt and 4,000 to generate."""
    sizes = {"hidden_size": 5120, "intermediate_size": 27648, "num_hidden_layers": 64, "num_attention_heads": 40}
    config = Qwen2Config(vocab_size=152064, num_key_value_heads=8, tie_word_embeddings=False, **sizes)
    config.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    weights = 32_763_876_352 * 2
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(79.1 * 2**30), int(79.1 * 2**30)))
    check_weights(tmp_path, config, torch.bfloat16)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(79.1 * 2**30) - weights, int(79.1 * 2**30)))
    tokens = row_cache.cache_bytes("cuda") // row_cache.token_bytes(config, torch.bfloat16)
    assert tokens * 0.75 // row_cache.columns_for(4300) == 10
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(47.5 * 2**30), int(47.5 * 2**30)))
    with pytest.raises(
        UserError, match=r"weights take 61.0 GiB, and the GPU has 47.5 GiB free.*sglang with options.tp"
    ):
        check_weights(tmp_path, config, torch.bfloat16)


def test_the_paper_screens_32b_on_two_gpus_by_sglang() -> None:
    """In process, on one card of 80 GB, ten rows have room beside the weights (above)."""
    run = Run(load([ROOT / "config/paper.yaml"]))
    rules, model = ScreenRules(run), SimpleNamespace(base="32b", keys=lambda: ["base"])
    engine = {"engine": "sglang", "dtype": "bfloat16", "options": {"deterministic": True, "attention_backend": "fa3"}}
    assert json.loads(rules.serve(model)) == engine
    assert json.loads(rules.runtime(model))["options"] == {"tp": 2}
    assert run.screening_gpus("32b") == 2
    shard = SimpleNamespace(base="32b", shard=1, keys=lambda: ["base", "shard"])
    assert (rules.shape(shard), rules.shape(model)) == ((1, 2), (1, 0)), "what gathers shards needs no GPU"
