"""The sweep on a server of arithmetic, with lengths as printed in the paper: how full it is kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from benchmark_scripts import load
from characters import Characters
from m1.core.records import Question
from m1.core.store import Store
from m1.engines.cached import CachedEngine
from m1.engines.schedule import Job
from m1.infer.frames import make_frames
from modelled_server import ModelledServer, Shape, generate_as_printed
from random_model import sweep_settings
from sweeps import swept

COPIES = Shape(copies=2, weights=8.3, row=0.016, token=2.6e-5, prefill=18_700, cache=100_000, rows=12)
BATCH = 24
SETTINGS = sweep_settings(budgets=[256, 1024, 4096], forced=[1, 2, 4], forced_budget=2048, answer_limit=1024)
ASKED = [("b", Question(f"q{i}", "b", f"Which {i}?", None, ("a", "b"), "A")) for i in range(240)]


def served(folder: Path, work: Callable[[CachedEngine], object], sticky: bool = True) -> ModelledServer:
    server = ModelledServer(COPIES, BATCH, generate_as_printed, sticky)
    with Store(folder) as store:
        work(CachedEngine(lambda: server, "m", store, "t", batch=BATCH))
    return server


def by_stages(engine: CachedEngine) -> None:
    """As it was once: a chunk of questions after the other, each of whose stages waits for its slowest."""
    frames = make_frames(Characters(), SETTINGS)
    for start in range(0, len(ASKED), BATCH):
        work = partial(load("sweep").in_stages, ASKED[start : start + BATCH], frames)
        engine.run([Job(BATCH, work)], BATCH, lambda one: None)


@pytest.mark.parametrize("forcing", ["exact", "released"])
def test_a_sweep_keeps_its_engine_full(tmp_path: Path, forcing: Any) -> None:
    size = {"exact": 1, "released": 40}[forcing]
    settings = sweep_settings(**vars(SETTINGS) | {"forcing": forcing})
    server = served(tmp_path / "one", lambda engine: swept(engine, Characters(), ASKED, "m", settings, size))
    assert server.in_flight(0.9) > 0.95 * BATCH
    assert server.in_flight() > 0.85 * BATCH
    stages = served(tmp_path / "stages", by_stages)
    assert stages.in_flight() < 0.6 * BATCH, "or this tests little"


def test_requests_of_a_question_find_its_thinking_in_the_cache_of_their_copy(tmp_path: Path) -> None:
    seconds = {}
    for sticky in (True, False):
        server = served(
            tmp_path / str(sticky), lambda engine: swept(engine, Characters(), ASKED, "m", SETTINGS), sticky
        )
        seconds[sticky] = sum(copy.reading for copy in server.copies)
    assert seconds[True] < 0.5 * seconds[False]
