"""Make or renew a virtual environment of the Makefile, if its Python or its requirements have changed.

The environment's file ``.ready`` holds the version of Python and the requirements that the environment was made from,
word for word; the times of files decide nothing. The file also carries a lock of the kernel (flock): programs that use
the environment share it (``use_environments`` in ``m1/core/locks.py``), and an installation holds it exclusively, so
an environment in use never changes. pip inherits the lock, in case this process is killed.

This program uses only the standard library and runs on Python 3.6, so that it can say which Python is needed.
"""

import argparse
import errno
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import Iterator, TextIO  # noqa: UP035 (for old versions of Python)

UNFINISHED = "an installation has begun\n"
"""Text of ``.ready`` during an installation. It remains after an interruption, which may leave incomplete packages."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # errors of a file system that has no locks
QUIET = [] if sys.stdout.isatty() else ["--quiet"]
"""A person at a terminal sees what pip does; a log holds only what goes wrong."""
TRIES = 5
"""How often in a row the lock must be found shared before the environment counts as in use. Once is not enough: another
installation shares the lock for a moment when it looks, as this one does."""


def version(python: str) -> str:
    """Return the version of a Python, such as ``3.11``; empty if it does not exist or does not run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        return subprocess.check_output([python, "-c", code], stderr=subprocess.DEVNULL).decode().strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def read(path: str) -> str:
    """Return the text of a file; empty if the file cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def write(file: TextIO, text: str) -> None:
    """Replace the content of an open file, which keeps its lock (a new file would have none)."""
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def requirements(names: list) -> Iterator[str]:
    """Yield the lines of files of requirements, and of those that they include, without comments and blank lines."""
    for name in names:
        with open(name, encoding="utf-8") as file:
            lines = [re.sub(r"(^| )#.*", "", line).strip() for line in file]
        yield from filter(None, lines)
        yield from requirements([line[3:] for line in lines if line.startswith("-r ")])


class Environment:
    """A virtual environment as it is (``recorded``, ``there``, ``intact``) and as it should be (``wanted``)."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.folder, self.options = options.folder, options
        self.python = os.path.join(self.folder, "bin", "python")
        self.recorded, self.there = read(os.path.join(self.folder, ".ready")), version(self.python)
        made_with = "".join(re.findall(r"^Python (.+)\n", self.recorded))
        self.intact = bool(self.there) and self.recorded != UNFINISHED and made_with in ("", self.there)
        # An environment keeps its Python, unless the user named another one (--asked) or the environment is broken.
        self.version = version(options.python) if options.asked or not self.intact else self.there
        self.lines = list(requirements([word for word in options.pip if word.endswith(".txt")]))
        self.wanted = "\n".join([f"Python {self.version}", f"pip install {' '.join(options.pip)}", *self.lines, ""])

    @property
    def fits(self) -> bool:
        """Whether the environment is intact and made from what is wanted, so that nothing is left to do."""
        return self.intact and self.recorded == self.wanted

    def check(self) -> None:
        """End with a message if the environment cannot be made: its Python or the chosen one is missing or unfit."""
        if os.path.lexists(self.python) and not self.there and self.recorded != UNFINISHED:
            target = os.path.realpath(self.python)
            remedy = f"To make it anew: rm -r {self.folder}, then start the same again"
            sys.exit(f"{self.folder}: its Python ({target}) does not run, as after an upgrade of the system. {remedy}")
        metadata = read(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pyproject.toml"))
        oldest, end, why = re.findall(r'requires-python = ">=3\.(\d+),<3\.(\d+)" # (.+)', metadata)[0]
        needed = f"Python 3.{oldest} to 3.{int(end) - 1} is needed ({why}): make PYTHON=python3.{oldest} …"
        if not self.version:
            sys.exit(f"{self.options.python}: not found. {needed}")
        if self.version not in [f"3.{minor}" for minor in range(int(oldest), int(end))]:
            sys.exit(f"Python {self.version} found. {needed}")

    def install(self, file: TextIO) -> None:
        """Make the environment, or renew it with pip; end with a message if a command fails.

        Args:
            file: the environment's ``.ready``, opened and locked.
        """
        renew = self.intact and self.there == self.version
        print(f"{self.folder}: {'renewed' if renew else 'made'} for Python {self.version}", end="", flush=True)
        print("; this takes minutes, and pip shows nothing until it has ended" if QUIET else "", flush=True)
        write(file, UNFINISHED)
        pip = [self.python, "-m", "pip", "install", *QUIET, "--disable-pip-version-check"]
        # Install torch first and alone, before another package asks pip for some build of it.
        steps = [[*pip, line] for line in self.lines if line.startswith("torch==")] + [[*pip, *self.options.pip]]
        if not renew:
            remove(self.folder, but=".ready")
            steps.insert(0, [self.options.python, "-m", "venv", self.folder])
        for step in steps:
            print(" ".join(step), flush=True)
            code = subprocess.call(step, pass_fds=[file.fileno()])
            if code:
                # A failed pip restores what it had replaced, so the environment is intact; a killed one does not.
                write(file, "" if renew and code > 0 else UNFINISHED)
                sys.exit(f"{self.folder}: the installation has failed, see above; start the same again")
        write(file, self.wanted)


def remove(folder: str, but: str = "") -> None:
    """Remove all that is in a folder, except the file ``but``."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        elif entry.name != but:
            os.remove(entry.path)


def users(file: TextIO) -> str:
    """Describe the processes that share the lock, for a message; without /proc/locks, the command that finds them."""
    rows = [line.split() for line in read("/proc/locks").splitlines() if f":{os.fstat(file.fileno()).st_ino} " in line]
    found = sorted({row[4] for row in rows if row[1:4] == ["FLOCK", "ADVISORY", "READ"]})
    return f"process {', '.join(found)}" if found else f"lsof {file.name} names the process"


def lock(file: TextIO, folder: str) -> None:
    """Take the exclusive lock of an environment; wait for another installation, but end if a program uses it."""
    shared = waiting = 0
    while shared < TRIES:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in NO_LOCKS:
                return print(f"{folder}: its disk has no locks, so whether it is in use cannot be seen", flush=True)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(file, fcntl.LOCK_UN)
            shared += 1
        except BlockingIOError:
            shared = 0
            waiting += 1
            if waiting == 1:
                print(f"{folder}: another make is installing it; waiting", flush=True)
        time.sleep(0.2)
    why = "what it is made from has changed (or it is to be removed), but a run or tests are using it"
    sys.exit(f"{folder}: {why} ({users(file)}). Wait for them or end them, then start the same again")


def main() -> None:
    """Make, renew or remove an environment as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder of the environment, such as .venv")
    parser.add_argument("--python", default=sys.executable, help="Python for a new environment (default: this one)")
    parser.add_argument("--asked", action="store_true", help="let --python replace another Python that is there")
    parser.add_argument("--check", action="store_true", help="only check that the environment exists or can be made")
    parser.add_argument("--remove", action="store_true", help="remove the environment instead")
    parser.add_argument("--pip", type=str.split, default=[], help="arguments of pip install, as one quoted word")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C needs no traceback
    if options.check:
        return Environment(options).check()
    ready = os.path.join(options.folder, ".ready")
    while os.path.isdir(options.folder) if options.remove else not Environment(options).fits:
        if not options.remove:
            Environment(options).check()
            os.makedirs(options.folder, exist_ok=True)
        with open(ready, "a+", encoding="utf-8") as file:
            lock(file, options.folder)
            if not os.path.exists(ready) or not os.path.samestat(os.stat(ready), os.fstat(file.fileno())):
                continue  # another process removed the file while this one waited for its lock
            if options.remove and os.path.islink(options.folder):
                return os.remove(options.folder)  # what it leads to may serve other clones
            if options.remove:
                return shutil.rmtree(options.folder)
            environment = Environment(options)  # read again: another installation may have renewed it meanwhile
            return None if environment.fits else environment.install(file)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:  # a disk that is full or read-only, a file or a broken link in place of the folder
        sys.exit(f"{error.filename or 'the environment'}: {error.strerror}; mend that, then start the same again")
