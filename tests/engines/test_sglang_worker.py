"""SGLang's worker against a stand-in of SGLang: GPUs that are not there, and what computes attention.

What SGLang itself answers, on a CPU, is in test_engines_sglang.py.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_gpus import fake_driver, fake_torch
from generations import generated, requests
from m1.core.errors import UserError
from m1.core.files import read_json
from m1.core.store import Store
from m1.engines.cached import CachedEngine, open_engine, write_engine_manifest
from m1.engines.sglang import SglangEngine, SglangOptions
from random_model import random_model
from test_engines import asked_for

ENGINE = """\
import asyncio, json, os

class Engine:
    def __init__(self, **arguments):
        self.arguments, self.loop = arguments, asyncio.new_event_loop()
        with open(os.environ["STARTED"], "w") as file:
            json.dump(arguments, file)

    def get_server_info(self):
        backend = os.environ.get("TAKES") or self.arguments.get("attention_backend", "flashinfer")
        phases = {"prefill_attention_backend": None, "decode_attention_backend": os.environ.get("DECODES")}
        return {"internal_states": [{"attention_backend": backend, **phases}] * 2}

    async def async_generate(self, input_ids, sampling_params, routed_dp_rank=None):
        return {"output_ids": [5] * sampling_params["max_new_tokens"], "meta_info": {"finish_reason": "length"}}

    def shutdown(self):
        pass
"""
KERNELS = """\
import os

def flash_attn_with_kvcache():
    pass

def _load_fa3_kernels():
    # As in 0.5.23: the package's kernel or, with the variable at 0, the hub's.
    own = os.environ.get("SGLANG_USE_SGL_FA3_KERNEL", "1") == "1"
    flash_attn_with_kvcache.__module__ = "sgl_kernel.flash_attn" if own else "kernels.hub"
    return {"flash_attn_with_kvcache": flash_attn_with_kvcache}
"""


class Stand:
    """An environment with a stand-in of SGLang and of torch, and a Python that finds them although it is isolated."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.started, self.python = folder, folder / "started.json", folder / "python"
        files = {"sglang/__init__.py": ENGINE, "sglang/kernels/ops/attention/flash_attention_v3.py": KERNELS}
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        for package, version in {"sglang": "0.5.23", "sglang_kernel": "0.4.10"}.items():
            (folder / f"{package}-{version}.dist-info").mkdir()
            text = f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: {version}\n"
            (folder / f"{package}-{version}.dist-info/METADATA").write_text(text, encoding="utf-8")
        code = (
            f"import runpy, sys; sys.path.insert(0, {str(folder)!r}); runpy.run_path(sys.argv[2], run_name='__main__')"
        )
        self.python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n', encoding="utf-8")
        self.python.chmod(0o755)

    def options(self, **more: Any) -> SglangOptions:
        return SglangOptions(python=str(self.python), **more)


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """With eight GPUs that work."""
    made = Stand(tmp_path / "environment")
    fake_torch(made.folder, gpus=8)
    monkeypatch.setenv("STARTED", str(made.started))
    monkeypatch.setenv("PATH", f"{fake_driver(tmp_path / 'bin', '580.82.07', 8)}:/usr/bin:/bin")
    for variable in ("TAKES", "DECODES", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(variable, raising=False)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("random"))


def test_a_worker_whose_torch_sees_fewer_gpus_starts_no_engine(
    stand: Stand, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_torch(stand.folder, gpus=8, works=False)
    monkeypatch.setenv("PATH", f"{fake_driver(tmp_path / 'old', '535.129.03', 8)}:/usr/bin:/bin")
    said = (
        r"infer m1: 8 GPUs asked for on .*, and torch sees 0 \(driver 535.129.03 with 8 cards; torch 2.14.1 for CUDA 13"
    )
    with (
        pytest.raises(UserError, match=said) as refusal,
        SglangEngine(folder, "bfloat16", 1, stand.options(dp=8), "infer m1", 8),
    ):
        pass
    assert "wants driver 580 or newer" in str(refusal.value)
    assert str(stand.python) in str(refusal.value)
    assert not stand.started.exists()


def test_a_worker_that_has_its_gpus_says_what_computes_attention(
    stand: Stand, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGLANG_USE_SGL_FA3_KERNEL", "0")  # somebody's own, by which the hub's kernel would come
    with SglangEngine(folder, "bfloat16", 1, stand.options(attention_backend="fa3", dp=8), "t", 8) as engine:
        assert engine.ran["attention_backend"] == "fa3"
        assert engine.ran["kernel"] == "sgl_kernel.flash_attn"
        assert engine.ran["device"] == "NVIDIA H100 80GB HBM3"
        assert engine.ran["versions"].items() >= {"sglang": "0.5.23", "sglang-kernel": "0.4.10"}.items()
    asked = json.loads(stand.started.read_text())
    assert (asked["attention_backend"], asked["dp_size"], asked.get("device")) == ("fa3", 8, None)


def test_a_worker_that_asked_for_none_runs_on_the_cpu(stand: Stand, folder: Path) -> None:
    fake_torch(stand.folder, gpus=0, works=False, cuda=None)
    with SglangEngine(folder, "float32", 1, stand.options(), "t") as engine:
        assert (engine.ran["device"], engine.ran["attention_backend"]) == ("CPU", "torch_native")
        assert engine.ran["kernel"] is None
    assert json.loads(stand.started.read_text())["device"] == "cpu"


@pytest.mark.parametrize(("variable", "takes"), [("TAKES", "triton"), ("DECODES", "fa3, triton")])
def test_another_attention_backend_than_the_named_one_is_an_error(
    variable: str, takes: str, stand: Stand, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "triton")
    said = f"attention_backend is fa3, and SGLang 0.5.23 takes {takes} on NVIDIA H100 80GB HBM3. Name one that"
    with (
        pytest.raises(UserError, match=said),
        SglangEngine(folder, "bfloat16", 1, stand.options(attention_backend="fa3"), "t", 1),
    ):
        pass
    with SglangEngine(folder, "bfloat16", 1, stand.options(), "t", 1) as engine:  # none named: SGLang's own choice
        assert engine.ran["attention_backend"] == ("triton" if variable == "TAKES" else "flashinfer, triton")


def test_what_computed_attention_is_in_the_manifest_also_of_what_gathers_shards(
    stand: Stand, tokenizer_folder: Path, tmp_path: Path
) -> None:
    model = random_model(shutil.copytree(tokenizer_folder, tmp_path / "model"))
    serve = {"engine": "sglang", "dtype": "bfloat16", "options": {"attention_backend": "fa3"}}
    shards = tmp_path / "shards"
    for manifest, gather in ((shards / "1-of-1.json", None), (tmp_path / "m.json", shards / "1-of-1.json")):
        given = asked_for(model, tmp_path / "store", serve, {"python": str(stand.python)}, 0 if gather else 8)
        given.gather, given.manifest = gather, manifest
        with open_engine(given, "infer m1") as (engine, _, identity):
            generated(engine, requests(3, 5))
        write_engine_manifest(given, engine, identity, {}, {}, {})
        (ran,) = read_json(manifest)["ran"]
        assert (ran["attention_backend"], ran["kernel"]) == ("fa3", "sgl_kernel.flash_attn")


def test_where_all_came_from_the_store_no_engine_ran(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        engine = CachedEngine(lambda: pytest.fail("an engine was started"), "model", store, "test")
        assert engine.ran == []
        engine.add_ran([{}, {"device": "CPU"}, {"device": "CPU"}])
    assert engine.ran == [{"device": "CPU"}]
