"""SGLang for real, by ``make test-sglang``: on a CPU with a tiny random model, fp32, against the transformers
engine."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from generations import check_the_last_place, generated, requests
from m1.core.errors import UserError
from m1.engines.openai import OpenAIEngine, OpenAIOptions
from m1.engines.protocol import ModelFacts, Request, to_generation
from m1.engines.sglang import SglangEngine, SglangOptions
from m1.engines.transformers import TransformersEngine
from model_servers import needs_sglang, sglang_server
from patience import PATIENCE
from random_model import STOP, random_model
from transformers import AutoTokenizer

pytestmark = [
    pytest.mark.server,
    pytest.mark.train,
    needs_sglang,
]
WAIT = (100, 101)
"""Stands for the tokens of ``Wait``."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="module")
def embedded(folder: Path) -> TransformersEngine:
    return TransformersEngine(folder, "float32", batch=8)


@pytest.fixture(scope="module")
def sglang(folder: Path) -> Iterator[SglangEngine]:
    with SglangEngine(folder, "float32", 16, SglangOptions(max_total_tokens=20_000), "test") as engine:
        yield engine


def test_it_agrees_with_transformers_token_by_token(sglang: SglangEngine, embedded: TransformersEngine) -> None:
    asked = requests(128, 100)
    found = generated(sglang, asked)
    assert found == generated(embedded, asked)
    assert {generation.finish_reason for generation in found} == {"stop", "length"}
    assert generated(sglang, asked) == found, "with every prefix in the cache"


def test_it_says_what_really_computes_attention(sglang: SglangEngine) -> None:
    found = sglang.ran["attention_backend"], sglang.ran["device"], sglang.ran["kernel"]
    assert found == ("torch_native", "CPU", None)
    assert sglang.ran["versions"]["sglang"] == "0.5.23"


def test_another_attention_backend_than_the_named_one_is_an_error(folder: Path) -> None:
    """SGLang warns that Intel's matrix extension is not there, and goes on with its fallback."""
    if "amx_tile" in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor can run intel_amx")
    options = SglangOptions(attention_backend="intel_amx", max_total_tokens=2000)
    said = "attention_backend is intel_amx, and SGLang 0.5.23 takes torch_native on CPU"
    with pytest.raises(UserError, match=said), SglangEngine(folder, "float32", 1, options, "test"):
        pass


def test_gpus_that_its_torch_does_not_see_stop_it(folder: Path) -> None:
    """This environment's torch is a build for CPUs."""
    with (
        pytest.raises(UserError, match=r"2 GPUs asked for on .*, and torch sees 0 .*for CPUs only.*Install torch with"),
        SglangEngine(folder, "float32", 1, SglangOptions(tp=2), "test", 2),
    ):
        pass


def test_a_stop_token_at_the_very_last_place_is_a_stop(sglang: SglangEngine) -> None:
    check_the_last_place(sglang, requests(20, 60))


def test_every_cut_equals_generating_anew_at_that_budget(sglang: SglangEngine) -> None:
    asked, largest = requests(16, 40), 40
    whole = [
        (*generation.token_ids, *([STOP[0]] if generation.finish_reason == "stop" else []))
        for generation in generated(sglang, asked)
    ]
    for budget in range(1, largest + 1):
        direct = [Request(request.prompt, budget, STOP) for request in asked]
        cuts = [
            to_generation(ids[:budget], request, ModelFacts(512, 900, frozenset()), "cut", "")
            for ids, request in zip(whole, direct)
        ]
        assert generated(sglang, direct) == cuts


def test_every_forced_count_equals_forcing_anew(sglang: SglangEngine) -> None:
    prompts, budget, times = [request.prompt for request in requests(16, 1, seed=3)], 60, 4

    def forced(count: int) -> list[list[tuple[int, ...]]]:
        """Thinking after each of ``count`` forced ends, generated from the beginning."""
        chain: list[list[tuple[int, ...]]] = []
        ids, open_ = [()] * len(prompts), [True] * len(prompts)
        for _ in range(count + 1):
            going = [i for i, one in enumerate(open_) if one]
            more = generated(sglang, [Request((*prompts[i], *ids[i]), budget - len(ids[i]), STOP) for i in going])
            for i, generation in zip(going, more):
                ids[i] = (*ids[i], *generation.token_ids)
            chain.append(list(ids))
            for i, generation in zip(going, more):
                open_[i] = generation.finish_reason == "stop" and len(ids[i]) + len(WAIT) < budget
                ids[i] = (*ids[i], *WAIT) if open_[i] else ids[i]
        return chain

    chain = forced(times)
    assert chain[1] != chain[0]
    for count in range(times):
        assert forced(count)[-1] == chain[count]


def test_what_it_refuses_is_said(folder: Path, sglang: SglangEngine) -> None:
    with pytest.raises(UserError, match="512 positions"):
        generated(sglang, [Request((1,) * 500, 20, STOP)])
    small = SglangEngine(folder, "float32", 1, SglangOptions(max_total_tokens=64), "test")
    with small, pytest.raises(UserError, match=r"ended after \d+ of 300 tokens.*context length|SGLang.*refuses"):
        generated(small, [Request((5, 6), 300, ())])


def test_it_ends_with_the_process_that_started_it_however_that_ends(folder: Path) -> None:
    code = (
        "from m1.engines.sglang import *\n"
        "import sys, time\n"
        f"with SglangEngine({str(folder)!r}, 'float32', 1, SglangOptions(max_total_tokens=2000), 'test') as engine:\n"
        "    print('worker', engine._worker.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "workflow")}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        worker = next(int(line.split()[1]) for line in parent.stdout or () if line.startswith("worker"))
        family = [psutil.Process(worker), *psutil.Process(worker).children(recursive=True)]
        assert len(family) > 1
        os.kill(parent.pid, signal.SIGKILL)
    assert not psutil.wait_procs(family, timeout=PATIENCE)[1]


def test_its_server_gives_the_same(
    folder: Path, tokenizer_folder: Path, embedded: TransformersEngine, tmp_path: Path
) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tokenizer_folder / name).read_bytes())
    with sglang_server(folder, tmp_path / "log") as url:
        engine = OpenAIEngine(folder, 8, OpenAIOptions(url))
        # A server ends at its tokenizer's end token in any case; the workflow's requests always name it
        # (m1.core.chat.stop_ids).
        stop = (*STOP, AutoTokenizer.from_pretrained(folder).eos_token_id)
        asked = [dataclasses.replace(request, stop=stop) for request in requests(40, 60)]
        assert generated(engine, asked) == generated(embedded, asked)
        check_the_last_place(engine, asked)
