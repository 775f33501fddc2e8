"""What of a provider is a param of a rule, and what reaches the job by its environment."""

from __future__ import annotations

import json
import os

import pytest
from m1.wiring.distill import DistillRules
from m1.wiring.schema import export_call_settings
from m1.wiring.screen import ScreenRules
from m1.wiring.select import SelectRules
from runs import demo, demo_run, wildcards

DECIDING = {"name", "model", "serve", "temperature", "max_tokens", "limit_field", "extra", "notes", "rule"}
DECIDING |= {"thinking_start", "thinking_end"}


def test_how_calls_are_made_is_no_param(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TEACHER", "LABELLER", "SCREEN"):
        monkeypatch.setenv(f"M1_{name}_CALLS", "")
    teacher = demo()["teacher"] | {"max_dollars": 5, "requests_per_minute": 60}
    screen = demo()["screen"] | {"providers": {"api": teacher | {"concurrency": 7}}}
    run = demo_run(teacher=teacher, screen=screen)
    params = [
        ScreenRules(run).provider(wildcards(provider="api")),
        DistillRules(run).teacher(wildcards(set="hard")),
        SelectRules(run).labeller(wildcards()),
    ]
    assert all(set(json.loads(param)) == DECIDING for param in params)
    export_call_settings(run.config)
    calls = json.loads(os.environ["M1_SCREEN_CALLS"])["api"]
    assert (calls["concurrency"], calls["max_dollars"], calls["requests_per_minute"]) == (7, 5, 60)
    assert json.loads(os.environ["M1_TEACHER_CALLS"])["concurrency"] == teacher["concurrency"]
    assert not set(calls) & DECIDING
    assert set(calls) | DECIDING == set(run.providers["api"])
