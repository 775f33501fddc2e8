"""Make a virtual environment for the Makefile, or renew it: only where what it is made from has changed, and never
while it is in use.

What it was made from (version of Python, requirements) is in its file ``.ready``, word for word; times of files decide
nothing. That file also carries a lock of the kernel's: shared by what uses the environment (``use_environments`` in
``m1/core/locks.py``), exclusive here, and held by pip, too, should this process be killed.

Uses the standard library only, and runs on Python 3.6, too, as it says which Python is needed.
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
"""What ``.ready`` holds meanwhile, and after an interruption, which may leave packages that lack files."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what a file system without locks answers
TRIES = 5
"""How often in a row the lock must be seen shared: another process may have shared it for a moment to look, as this
one does."""


def version(python: str) -> str:
    """Version of a Python as ``3.11``; empty where it is not there or does not run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        return subprocess.check_output([python, "-c", code], stderr=subprocess.DEVNULL).decode().strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def read(path: str) -> str:
    """Text of a file; empty where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def write(file: TextIO, text: str) -> None:
    """Replace what an open file holds."""
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def requirements(names: list) -> Iterator[str]:
    """The lines that pip heeds of files of requirements, and of those that they include."""
    for name in names:
        with open(name, encoding="utf-8") as file:
            lines = [re.sub(r"(^| )#.*", "", line).strip() for line in file]
        yield from filter(None, lines)
        yield from requirements([line[3:] for line in lines if line.startswith("-r ")])


class Environment:
    """A virtual environment as it is, and as it should be."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.folder, self.options = options.folder, options
        self.python = os.path.join(self.folder, "bin", "python")
        self.recorded, self.there = read(os.path.join(self.folder, ".ready")), version(self.python)
        made_with = "".join(re.findall(r"^Python (.+)\n", self.recorded))
        self.intact = bool(self.there) and self.recorded != UNFINISHED and made_with in ("", self.there)
        # Only a Python that somebody asked for takes the place of one that is there.
        self.version = version(options.python) if options.asked or not self.intact else self.there
        self.lines = list(requirements([word for word in options.pip if word.endswith(".txt")]))
        self.wanted = "\n".join([f"Python {self.version}", f"pip install {' '.join(options.pip)}", *self.lines, ""])

    @property
    def fits(self) -> bool:
        """Whether there is nothing to do."""
        return self.intact and self.recorded == self.wanted

    def check(self) -> None:
        """End with a message where it cannot be made."""
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
        """Make it, or renew it; ``file`` is its ``.ready``, locked."""
        renew = self.intact and self.there == self.version
        print(f"{self.folder}: {'renewed' if renew else 'made'} for Python {self.version}", flush=True)
        write(file, UNFINISHED)
        pip = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        # torch goes first and alone: its pin takes the CPU build where the machine has one; nothing else may choose.
        steps = [[*pip, line] for line in self.lines if line.startswith("torch==")] + [[*pip, *self.options.pip]]
        if not renew:
            remove(self.folder, but=".ready")
            steps.insert(0, [self.options.python, "-m", "venv", self.folder])
        for step in steps:
            print(" ".join(step), flush=True)
            code = subprocess.call(step, pass_fds=[file.fileno()])
            if code:
                write(file, "" if renew and code > 0 else UNFINISHED)  # pip that fails undoes what it has begun
                sys.exit(f"{self.folder}: the installation has failed, see above; start the same again")
        write(file, self.wanted)


def remove(folder: str, but: str = "") -> None:
    """Empty a folder."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        elif entry.name != but:
            os.remove(entry.path)


def users(file: TextIO) -> str:
    """Processes that share the lock, in words."""
    rows = [line.split() for line in read("/proc/locks").splitlines() if f":{os.fstat(file.fileno()).st_ino} " in line]
    found = sorted({row[4] for row in rows if row[1:4] == ["FLOCK", "ADVISORY", "READ"]})
    return f"process {', '.join(found)}" if found else f"lsof {file.name} names the process"


def lock(file: TextIO, folder: str) -> None:
    """Have the exclusive lock of an environment. Another installation is waited for; what uses it ends this."""
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
    """Bring an environment to what it should be, or remove it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--python", default=sys.executable, help="makes the environment, where none is there")
    parser.add_argument("--asked", action="store_true", help="somebody chose this Python: it replaces another one")
    parser.add_argument("--remove", action="store_true", help="remove the environment")
    parser.add_argument("--pip", type=str.split, default=[], help="arguments of pip install, in one word")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C needs no traceback
    ready = os.path.join(options.folder, ".ready")
    while os.path.isdir(options.folder) if options.remove else not Environment(options).fits:
        if not options.remove:
            Environment(options).check()
            os.makedirs(options.folder, exist_ok=True)
        with open(ready, "a+", encoding="utf-8") as file:
            lock(file, options.folder)
            if not os.path.exists(ready) or not os.path.samestat(os.stat(ready), os.fstat(file.fileno())):
                continue  # removed meanwhile
            if options.remove:
                return shutil.rmtree(options.folder)
            environment = Environment(options)  # as another make may have left it meanwhile
            return None if environment.fits else environment.install(file)


if __name__ == "__main__":
    main()
