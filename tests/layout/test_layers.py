"""Which room of the house may use which: read from the imports in the code (docs/architecture.md)."""

from __future__ import annotations

import re

import pytest
from imports import MODULES, imports

STAGES = ("pools", "screen", "distill", "select", "train", "infer", "score", "report")
BELOW = {
    "core": set(),
    "client": {"core"},
    "engines": {"core"},
    **{stage: {"core", "client", "engines"} for stage in STAGES},
    "world": {"core", "client"},
    "wiring": {"core"},
    "commands": {"core", "client", "engines", "world", "wiring", *STAGES},
    "__main__": {"core"},
}
"""Room to the rooms that it may import from; from itself it may, too. No stage imports from another one."""
SETTINGS = re.compile(r"m1\.\w+\.settings")
"""What steps are told; the wiring makes it, and imports nothing else of them."""


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", [name for name in MODULES if room(name)])
def test_a_module_imports_only_from_the_rooms_below_its_own(module: str) -> None:
    inside = {name for name in imports(module) if name.split(".")[0] == "m1" and room(name)}
    allowed = BELOW[room(module)] | {room(module)}
    told = {name for name in inside if room(module) == "wiring" and SETTINGS.fullmatch(name)}
    assert {name for name in inside - told if room(name) not in allowed} == set()


def test_every_room_is_known() -> None:
    assert {room(name) for name in MODULES if room(name)} == BELOW.keys()


def test_no_module_imports_itself_in_a_circle() -> None:
    for module in MODULES:
        seen: set[str] = set()
        waiting = [name for name in imports(module) if name in MODULES]
        while waiting:
            name = waiting.pop()
            assert name != module, f"{module} is in a circle of imports"
            if name not in seen:
                seen.add(name)
                waiting += [other for other in imports(name) if other in MODULES]
