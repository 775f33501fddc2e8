"""Work on many questions at once, each of which waits for its own generations only.

The work on a question is a coroutine: it asks (:meth:`Schedule.ask`), awaits what was generated, and asks again. An
engine calls the schedule whenever a generation has ended; the coroutine that awaits it then runs until it awaits the
next one. There are no threads and no clock, so what is asked follows from the order in which generations end alone, and
what comes out does not depend on it at all.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from m1.engines.protocol import Engine, Generation, Request

T = TypeVar("T")

AHEAD = 4
"""Jobs are begun until they have this many times ``batch`` questions whose results are not kept yet."""


class Job(NamedTuple):
    """Work on one question, or on several that need each other."""

    questions: int
    work: Callable[[Schedule], Coroutine[Any, Any, Any]]


class Pending(Generic[T]):
    """A value that may not be there yet. To await it waits for it; several may, and again."""

    def __init__(self) -> None:
        self.ready = False
        self.value: Any = None
        self.waiting: list[tuple[Coroutine[Any, Any, Any], Pending[Any]]] = []
        """Coroutines that go on when the value is there, and where their own results belong."""

    def __await__(self) -> Generator[Pending[Any], None, T]:
        if not self.ready:
            yield self
        return self.value


class Schedule:
    """Jobs on an engine that has up to ``batch`` requests in flight.

    Results are kept in the order of the jobs, in whatever order they come. So a question that takes long holds up the
    results of later ones, but not their generations, until :data:`AHEAD` times ``batch`` questions wait for it: memory
    follows from ``batch``, not from the number of questions. (Where a job has more questions than ``batch``, its number
    counts.)
    """

    def __init__(self, jobs: Iterable[Job], batch: int, keep: Callable[[Any], None]) -> None:
        self._jobs, self._batch, self._keep = iter(jobs), batch, keep
        self._next: Job | None = None
        self._begun: deque[tuple[int, Pending[Any]]] = deque()  # questions and result of jobs that are not kept
        self._unkept = 0  # questions of these
        self._ready: deque[tuple[Coroutine[Any, Any, Any], Pending[Any]]] = deque()
        self._asked: list[Request] = []
        self._open: dict[int, tuple[Request, Pending[Generation]]] = {}  # by the identity of the request
        self._groups = itertools.count(1)
        self._stalled = False

    def run(self, engine: Engine) -> None:
        """Do all jobs."""
        engine.generate(self._requests(), self._done)
        if self._begun or self._next:
            raise RuntimeError("the engine returned before every request, and all that follow, had been generated")

    def new_group(self) -> int:
        """A number for the requests of one question."""
        return next(self._groups)

    def ask(self, request: Request) -> Pending[Generation]:
        """Have a request generated."""
        found: Pending[Generation] = Pending()
        self._open[id(request)] = request, found
        self._asked.append(request)
        return found

    def start(self, work: Coroutine[Any, Any, T]) -> Pending[T]:
        """Run a coroutine beside the one that calls this."""
        result: Pending[T] = Pending()
        self._ready.append((work, result))
        return result

    def _requests(self) -> Iterator[Request]:
        """The first requests of each job, as the engine has room for them."""
        while self._begin():
            asked, self._asked = self._asked, []
            yield from asked
        self._stalled = True

    def _done(self, request: Request, generation: Generation) -> list[Request]:
        """The requests that follow from one that has finished. Where too many questions waited to be kept when the
        engine had room, these are also those of the next jobs."""
        _, found = self._open.pop(id(request))
        self._resolve(found, generation)
        self._advance()
        while self._stalled and len(self._open) < self._batch and self._begin():
            pass
        asked, self._asked = self._asked, []
        return asked

    def _begin(self) -> bool:
        """Begin the next job; False if there is none, or none may be begun now."""
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
        """Run the coroutines that can go on, then keep what is finished."""
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
