"""The tests hold on machines of any speed: none gives up in seconds, or asserts that something took only so long."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from patience import PATIENCE, growth

TESTS = Path(__file__).parents[1]
CLOCK = re.compile(r"\btime\.(monotonic|perf_counter|process_time|time)\(|\b(seconds|elapsed|took)\b")


def impatient(program: str) -> Iterator[int]:
    """Lines with a number as ``timeout``, or with a time that is compared with a number from above."""
    for node in ast.walk(ast.parse(program)):
        match node:
            case ast.keyword(arg="timeout", value=ast.Constant(value=float() | int() as seconds)) if seconds < PATIENCE:
                yield node.value.lineno
            case ast.Compare():
                sides = [node.left, *node.comparators]
                if any(is_bounded(*one) for one in zip(sides, node.ops, sides[1:])):
                    yield node.lineno


def is_bounded(left: ast.expr, sign: ast.cmpop, right: ast.expr) -> bool:
    """Whether a comparison says that a time is less than a number."""
    number = isinstance(right, ast.Constant) and isinstance(right.value, int | float)
    return isinstance(sign, ast.Lt | ast.LtE) and number and bool(CLOCK.search(ast.unparse(left)))


def test_no_test_is_impatient() -> None:
    """``patience.py`` has the two limits that tests may use."""
    files = sorted(TESTS.rglob("*.py"))
    assert len(files) > 100
    found = {f"{file.relative_to(TESTS)}:{line}" for file in files for line in impatient(file.read_text("utf-8"))}
    assert not found


def test_the_impatient_are_found() -> None:
    clocks = ["assert time.monotonic() - start < 30", "assert 0 < answer.seconds < 5", "assert seconds[1] <= 3"]
    lines = ["process.wait(timeout=5)", *clocks, "assert time.monotonic() - start >= 1", "assert seconds > 0"]
    assert sorted(impatient("\n".join(lines))) == [1, 2, 3, 4]


def test_growth_tells_a_square_from_a_line() -> None:
    assert growth(lambda size: sum(range(100 * size)), 300) < 40 < growth(lambda size: sum(range(size**2)), 300)
