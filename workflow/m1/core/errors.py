"""Errors that a user can mend, shown as one clear message instead of a traceback; and safe output of any text."""

import errno
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Error numbers of a file system that accepts no more data: full, over quota, or read-only."""
KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|pk|rk)[-_](?:[A-Za-z0-9]+[-_])*?(?=[A-Za-z]*[0-9])[A-Za-z0-9]{16,}[\w-]*"
    r"|hf_[A-Za-z0-9]{30,}|gsk_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|AIza[\w-]{30,}|AKIA[A-Z0-9]{16}"
    r"|[Bb]earer\s+[\w.~+/-]{16,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*)"
)
"""Matches texts with the form of an API key of known providers."""
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a terminal obeys instead of showing (cursor, colour, text direction), and lone surrogates."""


class UserError(Exception):
    """An error that the user can mend; its message names the place (file, record, field), the fault and the remedy."""


def first_line(error: Exception) -> str:
    """The first line of an error's message, or the name of its type if the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def printable(text: str) -> str:
    """A text that is safe to show on a terminal, in a log or in a table.

    Control characters become their codes, such as ``\\u001b``, and API keys become ``***``. Line ends and tabs stay.
    """
    return KEY.sub("***", _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


class _Plain(io.TextIOBase):
    """A text stream that passes everything on in its :func:`printable` form."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(printable(text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return int(self._stream.fileno())


@contextmanager
def plain_output() -> Iterator[None]:
    """Make everything that is printed inside the context :func:`printable`."""
    with redirect_stdout(_Plain(sys.stdout)):
        yield


def tell(line: str) -> None:
    """Print a line on the terminal (stdout) and in the log (rules send stderr there), but once if both are one file."""
    line = printable(line)
    print(line, file=sys.stderr, flush=True)
    with suppress(ValueError):  # a stream that is closed
        try:
            same = os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
        except OSError:  # no file at all, as under a test
            same = False
        if not same:
            print(line, flush=True)


def run(main: Callable[[Sequence[str] | None], None]) -> None:
    """Run a module's ``main``, and exit with code 1 after an error.

    A :class:`UserError` and a full disk become one message; any other exception shows its traceback. Ctrl-C exits with
    code 130.
    """
    try:
        main(None)
    except UserError as error:
        tell(f"error: {error}")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            place = f"{error.filename}: it cannot be" if error.filename else "a file cannot be"
            folders = f"TMPDIR, now {os.environ.get('TMPDIR', 'not set')}, or HF_HOME"
            tell(f"error: {place} written ({error.strerror}); free space, or name another folder ({folders})")
        else:
            print(printable(traceback.format_exc()), file=sys.stderr, end="", flush=True)
        raise SystemExit(1) from None
