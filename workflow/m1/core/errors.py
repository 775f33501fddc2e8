"""One clear message instead of a traceback, wherever the user can do something about it."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress


class UserError(Exception):
    """What the user can mend: the message names the place (file, record, field), what was found, and the remedy."""


def first_line(error: Exception) -> str:
    """The first line of what an error says, else its type."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def tell(line: str) -> None:
    """Print a line on the terminal (rules leave it stdout) and in the log (rules send stderr there), if they differ."""
    print(line, file=sys.stderr, flush=True)
    with suppress(ValueError):  # a stream that is closed
        try:
            same = os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
        except OSError:  # no file at all, as under a test
            same = False
        if not same:
            print(line, flush=True)


def run(main: Callable[[Sequence[str] | None], None]) -> None:
    """Run a module's ``main``; a :class:`UserError` becomes one message and exit code 1."""
    try:
        main(None)
    except UserError as error:
        tell(f"error: {error}")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
