"""Work on many questions at once; each one waits only for its own generations.

The work on a question is a coroutine. It asks for a generation (:meth:`Schedule.ask`), awaits it, and asks again. The
engine calls the schedule whenever a generation has ended. There are no threads and no clock. So the order of requests
depends only on the order in which generations end, and the results do not depend on any order.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from m1.engines.protocol import Engine, Generation, Request

T = TypeVar("T")

AHEAD = 4
"""Jobs are begun until this many times ``batch`` questions wait for their results to be kept."""


class Job(NamedTuple):
    """The work on one question, or on several that depend on each other."""

    questions: int
    work: Callable[[Schedule], Coroutine[Any, Any, Any]]


class Pending(Generic[T]):
    """A value that may not exist yet. Several coroutines may await it, also more than once."""

    def __init__(self) -> None:
        self.ready = False
        self.value: Any = None
        self.waiting: list[tuple[Coroutine[Any, Any, Any], Pending[Any]]] = []
        """Coroutines that continue when the value exists, each with the place of its own result."""

    def __await__(self) -> Generator[Pending[Any], None, T]:
        if not self.ready:
            yield self
        return self.value


class Schedule:
    """Runs jobs on an engine that has up to ``batch`` requests in flight.

    Results are kept in the order of the jobs, in whatever order they arrive. So a slow question delays the results of
    later ones, but not their generations, until :data:`AHEAD` times ``batch`` questions wait for it. Memory therefore
    depends on ``batch``, and not on the number of questions. (If a job has more questions than ``batch``, its number of
    questions counts instead.)
    """

    def __init__(self, jobs: Iterable[Job], batch: int, keep: Callable[[Any], None]) -> None:
        self._jobs, self._batch, self._keep = iter(jobs), batch, keep
        self._next: Job | None = None
        self._begun: deque[tuple[int, Pending[Any]]] = deque()  # number of questions and result of each unkept job
        self._unkept = 0  # sum of these numbers
        self._ready: deque[tuple[Coroutine[Any, Any, Any], Pending[Any]]] = deque()
        self._asked: list[Request] = []
        self._open: dict[int, tuple[Request, Pending[Generation]]] = {}  # by the `id` of the request
        self._groups = itertools.count(1)
        self._stalled = False

    def run(self, engine: Engine) -> None:
        """Run all jobs to their end."""
        engine.generate(self._requests(), self._done)
        if self._begun or self._next:
            raise RuntimeError("the engine returned before every request, and all that follow, had been generated")

    def new_group(self) -> int:
        """A new number for the requests of one question."""
        return next(self._groups)

    def ask(self, request: Request) -> Pending[Generation]:
        """Ask for a generation; await the result."""
        found: Pending[Generation] = Pending()
        self._open[id(request)] = request, found
        self._asked.append(request)
        return found

    def start(self, work: Coroutine[Any, Any, T]) -> Pending[T]:
        """Start a coroutine beside the calling one; await the result."""
        result: Pending[T] = Pending()
        self._ready.append((work, result))
        return result

    def _requests(self) -> Iterator[Request]:
        """Yield the first requests of each job, as the engine has room for them."""
        while self._begin():
            asked, self._asked = self._asked, []
            yield from asked
        self._stalled = True

    def _done(self, request: Request, generation: Generation) -> list[Request]:
        """The requests that follow from a finished one.

        If too many questions waited to be kept when the engine had room, the first requests of new jobs follow, too.
        """
        _, found = self._open.pop(id(request))
        self._resolve(found, generation)
        self._advance()
        while self._stalled and len(self._open) < self._batch and self._begin():
            pass
        asked, self._asked = self._asked, []
        return asked

    def _begin(self) -> bool:
        """Begin the next job; False if there is none, or if none may begin now."""
        self._next = self._next or next(self._jobs, None)
        if self._next is None:
            return False
        more = self._next.questions
        if self._begun and self._unkept + more > AHEAD * max(self._batch, more):
            return False
        self._unkept += more
        self._begun.append((more, self.start(self._next.work(self))))
        self._next = None
        self._advance()
        return True

    def _advance(self) -> None:
        """Run the coroutines that can continue, then keep the finished results."""
        while self._ready:
            work, result = self._ready.popleft()
            try:
                awaited = work.send(None)
            except StopIteration as end:
                self._resolve(result, end.value)
            else:
                awaited.waiting.append((work, result))
        while self._begun and self._begun[0][1].ready:
            questions, result = self._begun.popleft()
            self._unkept -= questions
            self._keep(result.value)

    def _resolve(self, pending: Pending[T], value: T) -> None:
        pending.ready, pending.value = True, value
        self._ready.extend(pending.waiting)
        pending.waiting.clear()
