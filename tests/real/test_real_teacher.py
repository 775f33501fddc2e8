"""A real model behind a server answers real questions over HTTP: as teacher, whose thinking stands in its text, and as
labeller. It has no key and no price."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import real_material
from m1.core import records
from m1.core.errors import UserError
from m1.core.records import Domain, Question, Trace
from m1.core.store import Store
from m1.distill import traces
from m1.select import domains
from model_servers import needs_sglang, sglang_server, transformers_server
from project import REPOSITORY
from providers import SETTINGS

pytestmark = [pytest.mark.real, pytest.mark.server]
FREE: dict[str, Any] = {"price_prompt": 0, "price_completion": 0, "api_key_env": None, "concurrency": 2}
PATIENT = {"timeout": 1200, "max_retries": 1}
COUNT = 3


def real_questions() -> list[Question]:
    rows = [row for row, _ in zip(real_material.read("medqa_usmle_4_options/train_sample.jsonl.gz"), range(COUNT))]
    return [
        Question(f"medqa:{number}", "medqa", row["question"], None, tuple(row["options"].values()), row["answer_idx"])
        for number, row in enumerate(rows)
    ]


def distill(folder: Path, settings: dict[str, Any]) -> tuple[list[Trace], dict[str, Any]]:
    """The step's command line: all traces, in question order, and the manifest."""
    flags = {
        "questions": folder / "questions.parquet",
        "store": folder / "store",
        "output": folder / "correct.parquet",
        "dropped": folder / "dropped.parquet",
        "differing": folder / "differing.csv",
        "manifest": folder / "manifest.json",
        "teacher": json.dumps(settings),
        "calls": "{}",
    }
    traces.main([word for name, value in flags.items() for word in (f"--{name}", str(value))])
    both = [one for name in ("output", "dropped") for one in records.read(flags[name], Trace)]
    return sorted(both, key=lambda trace: trace.question_id), json.loads((folder / "manifest.json").read_text())


@pytest.fixture(scope="module")
def model() -> Path:
    if why := real_material.lacking():
        pytest.skip(why)
    return real_material.smollm2()


@real_material.long
@pytest.mark.parametrize("server", [transformers_server, pytest.param(sglang_server, marks=needs_sglang)])
def test_a_real_model_as_teacher_and_labeller(
    server: Callable[[Path, Path], AbstractContextManager[str]], model: Path, tmp_path: Path
) -> None:
    """This small model repeats the question and does not think; a mark in its own text stands for thinking."""
    records.write(tmp_path / "questions.parquet", real_questions(), Question)
    settings = SETTINGS | FREE | PATIENT | {"name": "SmolLM2", "model": str(model), "max_tokens": 300}
    with server(model, tmp_path / "log") as url:
        said = rf"SmolLM2: none of [1-{COUNT}] answers has both thinking and an answer.*teacher\.thinking_end"
        with pytest.raises(UserError, match=f"(?s){said}"):
            distill(tmp_path, settings | {"base_url": url})
        with Store(tmp_path / "store") as store:
            values = [store.get(key) for key in store]
        served = (tmp_path / "log").read_text(errors="replace").count("POST /v1/chat/completions")
        check_teacher(tmp_path, settings, values)
        assert (tmp_path / "log").read_text(errors="replace").count("POST /v1/chat/completions") == served <= COUNT + 1
        label(tmp_path, settings | {"base_url": url, "max_tokens": 12, "rule": None})


def check_teacher(folder: Path, settings: dict[str, Any], values: list[dict[str, Any]]) -> None:
    """From what the store has, with a mark out of the first answer's own text."""
    assert len(values) == COUNT
    texts = [value["message"]["content"].strip() for value in values if value["finish_reason"] == "stop"]
    assert texts, "each answer was cut"
    mark = texts[0][len(texts[0]) // 2 :][:8]
    found, manifest = distill(folder, settings | {"thinking_end": mark})
    for trace in found:
        if trace.finish_reason == "length":
            assert trace.verdict == "truncated"
        elif not trace.thinking:
            assert (trace.verdict, mark in trace.answer) == ("no_thinking", False)
    thought = [trace for trace in found if trace.thinking and trace.finish_reason == "stop"]
    parted = {tuple(part.strip() for part in text.split(mark, 1)) for text in texts if mark in text}
    assert {(trace.thinking, trace.answer) for trace in thought} == parted
    spending = manifest["spending"]
    assert (spending["calls"], spending["calls_made"], spending["uncounted"], spending["dollars"]) == (COUNT, 0, 0, 0)
    assert all(trace.prompt_tokens > 50 < trace.completion_tokens + 50 for trace in found)


def label(folder: Path, settings: dict[str, Any]) -> None:
    """The labeller is asked about one question; what names no code is said, and what names one is a MeSH domain."""
    qualifiers = REPOSITORY / "resources/mesh/qualifiers.csv"
    question = real_questions()[0]
    sample = Trace(question.id, "SmolLM2", "t", "a", "stop", 1, 1, 1, 0.0, "key", "correct")
    records.write(folder / "samples.parquet", [sample], Trace)
    flags = {
        "questions": folder / "questions.parquet",
        "samples": folder / "samples.parquet",
        "labeller": json.dumps(settings | {"max_retries": 0}),
        "calls": "{}",
        "qualifiers": qualifiers,
        "prompt": REPOSITORY / "resources/prompts/domain.txt",
        "store": folder / "labels",
        "output": folder / "domains.parquet",
        "manifest": folder / "domains.json",
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    try:
        domains.main(words)
    except UserError as error:
        assert "SmolLM2: 1 of 1 answers name no code" in str(error)  # noqa: PT017
    else:
        with open(qualifiers, encoding="utf-8", newline="") as lines:
            known = {row["code"]: row["name"] for row in csv.DictReader(lines)}
        (domain,) = records.read(folder / "domains.parquet", Domain)
        assert domain.name == known[domain.code]
    with Store(folder / "labels") as store:
        (value,) = [store.get(key) for key in store]
    assert value["usage"]["prompt_tokens"] > 2000, "the task, the question and 76 qualifiers"
