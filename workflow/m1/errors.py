"""One clear message instead of a traceback, wherever the user can do something about it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence


class UserError(Exception):
    """Something the user can mend.

    The message names the place (file, record, field), what was found, and the remedy.
    """


def run(main: Callable[[Sequence[str] | None], None]) -> None:
    """Run a module's ``main``; a :class:`UserError` becomes one message and exit code 1.

    The message goes to stderr (the rule's log) and to stdout (the terminal of the person who waits).
    """
    try:
        main(None)
    except UserError as error:
        message = f"error: {error}"
        print(message, file=sys.stderr)
        if not sys.stdout.closed:
            print(message, flush=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
