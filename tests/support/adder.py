"""A teacher that adds two numbers, on the world's HTTP server: in a thread, or as a program (``python -m adder``)."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import m1
from m1.core.records import LETTERS, Question
from m1.world.server import World, add_arguments, make_world, serve
from serving import serving

PATHS = os.pathsep.join([str(Path(m1.__file__).parents[1]), str(Path(__file__).parent)])
"""PYTHONPATH of a program that imports the package and what tests share."""


class Adder:
    """A teacher that adds two numbers."""

    def think(self, user_text: str, incorrect: bool) -> tuple[str, str] | None:
        found = re.search(r"What is (\d+) plus (\d+)\?", user_text)
        if not found:
            return None
        answer = int(found[1]) + int(found[2]) + incorrect
        return f"Okay, {found[1]} and {found[2]} make {answer}.", f"The answer is \\boxed{{{answer}}}."


def addition(number: int) -> Question:
    """Make a question for the adder; 10 <= sum <= 99, so that no first character is a letter."""
    a, b = 5 + number % 40, 5 + number // 40
    options = tuple(str(a + b + shift) for shift in (-1, 0, 1, 2))
    return Question(
        f"q{number:04}", ("odd", "even")[number % 2 == 0], f"What is {a} plus {b}?", None, options, LETTERS[1]
    )


@contextmanager
def running(world: World) -> Iterator[str]:
    """Run a server in a thread; yields its base URL."""
    with serving(world):
        yield f"http://127.0.0.1:{world.server_address[1]}/v1"


if __name__ == "__main__":
    from m1.core.errors import run

    def main(argv: None) -> None:
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        arguments = parser.parse_args(argv)
        serve(make_world(Adder(), arguments), arguments.port_file)

    run(main)
