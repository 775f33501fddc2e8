"""Exclusive locks between processes, also of several hosts.

A lock is a POSIX lock of the kernel on a file that names the holder. The kernel releases it however the process ends,
so no stale lock is left behind. On a file system without locks, only the file tells: a holder on this machine that has
ended loses the lock to the next process, but whether a holder on another machine still runs cannot be known.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from m1.core.errors import UserError

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what a file system without locks answers
POLL = 0.2
"""Seconds between two tries to get a lock."""
SETTLE = 1.0
"""Seconds after which a host sees what other hosts have written to a file system without locks."""
STAMP = ".ready"
"""The file in an environment made by ``make`` that its users lock (``envs/install.py``)."""
_held: set[Path] = set()
"""Lock files that this process holds. POSIX releases a lock when the process closes any descriptor of the file, so a
second :class:`Lock` on one of them must be refused."""
_HOLDER = re.compile(r"process (\d+) on (\S+) since (.+ UTC) \(begun (.*)\)\n")


class Holder(NamedTuple):
    """The process that holds a lock."""

    process: int
    host: str
    since: str
    begun: str
    """The machine's boot and the clock tick at which the process began, because process numbers are reused."""

    @classmethod
    def this(cls) -> Holder:
        """This process, from now on."""
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        return cls(os.getpid(), socket.gethostname(), since, begun(os.getpid()))

    @classmethod
    def read(cls, path: Path) -> Holder | None:
        """The last process that wrote a lock's file and did not release the lock; None if there is none."""
        with suppress(OSError):
            if found := _HOLDER.fullmatch(path.read_text(encoding="utf-8", errors="replace")):
                return cls(int(found[1]), *found.groups()[1:])
        return None

    def __str__(self) -> str:
        return f"process {self.process} on {self.host} since {self.since}"

    @property
    def record(self) -> bytes:
        """The content of the lock's file."""
        return f"{self} (begun {self.begun})\n".encode()

    @property
    def alive(self) -> bool | None:
        """Whether the process still runs; None if this machine cannot know."""
        boot = self.begun.partition("/")[0]
        if self.host != socket.gethostname() or boot != begun(os.getpid()).partition("/")[0]:
            return None
        return begun(self.process) == self.begun


def begun(process: int) -> str:
    """A text that tells a process from all others of this machine that ever have the same number.

    It is empty if the process does not exist or has ended.
    """
    with suppress(OSError, IndexError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}/{fields[19]}" if fields[0] not in "ZX" else ""
    return ""


class Lock:
    """An exclusive lock on a file; releasing it deletes the file unless ``keep`` is set."""

    def __init__(self, path: Path, keep: bool = False) -> None:
        self.path, self.keep = path, keep
        self.kernel = True
        """Whether the last attempt used a lock of the kernel; False on a file system without locks."""
        self._descriptor: int | None = None

    def take(self) -> Holder | None:
        """Try once to get the lock; returns None on success, else the holder.

        Raises:
            OSError: the file cannot be made or locked.
            RuntimeError: this process has the lock already.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        path = self.path.parent.resolve() / self.path.name
        if path in _held:
            raise RuntimeError(f"{path}: this process has the lock already")
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o660)  # less the umask: a group may share a store
            try:
                holder = self._try(path, descriptor)
                removed = holder is None and not _same(path, descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            if holder or removed:
                os.close(descriptor)
            if holder:
                return holder
            if not removed:
                self._descriptor = descriptor
                _held.add(path)
                return None

    def _try(self, path: Path, descriptor: int) -> Holder | None:
        self.kernel = True
        me = Holder.this()
        try:
            if holder := _kernel_lock(path, descriptor):
                return holder
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            self.kernel = False
            holder = Holder.read(path)
            if holder and holder.alive is not False:
                return holder
        with suppress(OSError):  # with a kernel lock, the holder's name in the file only serves messages
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, me.record, 0)
        if not self.kernel:
            time.sleep(SETTLE)  # if two processes begin at once, the one that wrote last has the lock
            last = Holder.read(path)
            return last if last != me else None
        return None

    def wait(self, say: Callable[[Holder], None]) -> bool:
        """Wait until the holder releases the lock or ends, and take it; ``say`` is called with each new holder.

        Returns:
            False if the file system has no locks and the holder is on another machine, where it may have ended.
        """
        said = None
        while holder := self.take():
            if not self.kernel and holder.alive is None:
                return False
            if holder != said:
                say(said := holder)
            time.sleep(POLL)
        return True

    def release(self) -> None:
        """Release the lock, if this process has it."""
        if self._descriptor is None:
            return
        path = self.path.parent.resolve() / self.path.name
        with suppress(OSError):
            if _same(path, self._descriptor):
                os.ftruncate(self._descriptor, 0)
                if not self.keep:
                    path.unlink()
        os.close(self._descriptor)
        self._descriptor = None
        _held.discard(path)


def _same(path: Path, descriptor: int) -> bool:
    """Whether an open file is still the one at its path; another process may have deleted or replaced it."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    return False


def _kernel_lock(path: Path, descriptor: int) -> Holder | None:
    """Try to get the kernel's lock; returns the holder if another process has it."""
    # The holder writes its name after it gets the lock and clears it before the release, so wait up to a second for it.
    for _ in range(20):
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return None
        except (BlockingIOError, PermissionError):
            if holder := Holder.read(path):
                return holder
        time.sleep(0.05)
    return Holder(0, "an unknown host", "an unknown time", "")


def use_environments() -> None:
    """Keep ``make`` from installing into this process's environments until the process ends.

    These are the environment of this Python and that of ``M1_SGLANG_PYTHON``. Environments that ``make`` has not made
    are left alone. The lock is a shared ``flock``: forked processes inherit it, and POSIX locks do not disturb it. On a
    file system without locks there is no protection; ``make`` says so when it installs there.

    Raises:
        UserError: ``make`` is installing into one of the environments.
    """
    sglang = os.environ.get("M1_SGLANG_PYTHON")
    for folder in (Path(sys.prefix), *([Path(sglang).absolute().parents[1]] if sglang else [])):
        with suppress(FileNotFoundError, NotADirectoryError):
            descriptor = os.open(folder / STAMP, os.O_RDONLY)  # for as long as the process lives
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"{folder}: make is installing it; start this again when that is done") from None
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
