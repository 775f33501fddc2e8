"""The tests hold on machines of any speed: none gives up in seconds, or asserts that something took only so long."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from patience import PATIENCE

TESTS = Path(__file__).parents[1]


def impatient(program: str) -> Iterator[int]:
    """Lines with a number as ``timeout``, or with a clock that is compared with a number from above."""
    for node in ast.walk(ast.parse(program)):
        match node:
            case ast.keyword(arg="timeout", value=ast.Constant(value=float() | int() as seconds)) if seconds < PATIENCE:
                yield node.value.lineno
            case ast.Compare(left=ast.BinOp(left=ast.Call() as call), ops=[ast.Lt() | ast.LtE()]) if ast.unparse(
                call.func
            ) in {"time.monotonic", "time.perf_counter", "time.time"} and isinstance(node.comparators[0], ast.Constant):
                yield node.lineno


def test_no_test_is_impatient() -> None:
    """``patience.py`` has the two limits that tests may use."""
    files = sorted(TESTS.rglob("*.py"))
    assert len(files) > 100
    found = {f"{file.relative_to(TESTS)}:{line}" for file in files for line in impatient(file.read_text("utf-8"))}
    assert not found


def test_the_impatient_are_found() -> None:
    lines = ["process.wait(timeout=5)", "assert time.monotonic() - start < 30", "assert time.monotonic() - start >= 1"]
    assert sorted(impatient("\n".join(lines))) == [1, 2]
