"""Locks between processes, also of several hosts: what one owns that others could write, too.

A lock is one of the kernel's (POSIX) on a file that says who has it. The kernel releases it however its process ends,
so none is ever left behind. Where a file system has none, the file alone tells: a holder of this machine that has ended
is taken over from, and whether one of another machine is still at work nobody knows.
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
"""Seconds after which a host sees what others have written, where a file system has no locks."""
STAMP = ".ready"
"""The file that is locked of an environment that ``make`` has made (envs/install.py)."""
_held: set[Path] = set()
"""Locks that this process has: closing a second descriptor of a lock's file would release it."""
_HOLDER = re.compile(r"process (\d+) on (\S+) since (.+ UTC) \(begun (.*)\)\n")


class Holder(NamedTuple):
    """Who has a lock."""

    process: int
    host: str
    since: str
    begun: str
    """Boot of the machine, and the clock tick of it at which the process began: numbers of processes come again."""

    @classmethod
    def this(cls) -> Holder:
        """This process, from now on."""
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        return cls(os.getpid(), socket.gethostname(), since, begun(os.getpid()))

    @classmethod
    def read(cls, path: Path) -> Holder | None:
        """Who wrote a lock's file last and did not release it, if anybody did."""
        with suppress(OSError):
            if found := _HOLDER.fullmatch(path.read_text(encoding="utf-8", errors="replace")):
                return cls(int(found[1]), *found.groups()[1:])
        return None

    def __str__(self) -> str:
        return f"process {self.process} on {self.host} since {self.since}"

    @property
    def record(self) -> bytes:
        """What the lock's file says."""
        return f"{self} (begun {self.begun})\n".encode()

    @property
    def alive(self) -> bool | None:
        """Whether the process is still there; None where this machine cannot know."""
        boot = self.begun.partition("/")[0]
        if self.host != socket.gethostname() or boot != begun(os.getpid()).partition("/")[0]:
            return None
        return begun(self.process) == self.begun


def begun(process: int) -> str:
    """What tells a process of this machine from all others that have had or will have its number; empty where there is
    none."""
    with suppress(OSError, IndexError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}/{fields[19]}" if fields[0] not in "ZX" else ""
    return ""


class Lock:
    """An exclusive lock by a file, which is removed when it is released unless it is to be kept.

    Attributes:
        kernel: whether it is, or was when last tried, one of the kernel's.
    """

    def __init__(self, path: Path, keep: bool = False) -> None:
        self.path, self.keep, self.kernel = path, keep, True
        self._descriptor: int | None = None

    def take(self) -> Holder | None:
        """Try to get the lock; who has it instead, or None if this process has it now.

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
        with suppress(OSError):  # who has the kernel's lock is only for the message
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, me.record, 0)
        if not self.kernel:
            time.sleep(SETTLE)  # of two that begin at once, the one that wrote last has it
            last = Holder.read(path)
            return last if last != me else None
        return None

    def wait(self, say: Callable[[Holder], None]) -> bool:
        """Get the lock as soon as its holder releases it or ends; ``say`` is told of each holder.

        Returns:
            False where the file system has no locks and the holder is another machine's: it may have ended.
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
    """Whether a file is still the one that is there by its name."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    return False


def _kernel_lock(path: Path, descriptor: int) -> Holder | None:
    """Try to get the kernel's lock; who has it instead. That may not have said so yet, or may be releasing it."""
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
    """Keep ``make`` from installing into the environments that this process works with until it ends: this Python's,
    and SGLang's where ``M1_SGLANG_PYTHON`` names it. Those that ``make`` has not made are left alone.

    The lock is ``flock``'s, shared: it also holds in processes that are forked, and other locks do not disturb it. A
    file system without locks protects nothing; ``make`` says so when it installs there.

    Raises:
        UserError: ``make`` is installing into one of them.
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
