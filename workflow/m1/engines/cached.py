"""Generating with any engine, with everything generated kept in the store (3.3, B.3)."""

import argparse
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from m1.core import gpus
from m1.core.chat import chat, stop_ids, tokenizer_of
from m1.core.errors import UserError
from m1.core.files import digest, model_identity, read_json, recorded_identity, write_manifest
from m1.core.progress import Progress
from m1.core.prompts import evaluation_prompt, question_text
from m1.core.records import Question
from m1.core.settings import read
from m1.core.store import Store, Stored, look_into
from m1.core.tokens import encode
from m1.engines.context import Need
from m1.engines.openai import OpenAIEngine, OpenAIOptions
from m1.engines.protocol import Done, Engine, Generation, Request
from m1.engines.schedule import Job, Schedule
from m1.engines.settings import Answered, ServeRuntime, ServeSettings
from m1.engines.sglang import SglangEngine, SglangOptions
from m1.engines.shards import Asked, all_manifests, owned_shard
from m1.engines.transformers import TransformersEngine, TransformersOptions


class EngineKind(NamedTuple):
    """An engine that ``serve.engine`` can name: the dataclass of ``serve.options``, and what makes the engine from the
    model's folder, dtype, requests at a time, options, title for messages, and the GPUs that the job was given.

    An engine that is a context manager is entered, and left at the end of the step.
    """

    options: type[Any]
    start: Callable[[Path, str, int, Any, str, int], Engine]


def start_transformers(
    folder: Path, dtype: str, batch: int, options: Any, title: str, wanted_gpus: int
) -> TransformersEngine:
    """The engine in this process; a :class:`UserError` where torch sees fewer GPUs than the job was given."""
    if wanted_gpus and (lacking := gpus.lack(wanted_gpus, gpus.look())):
        raise UserError(f"{title}: {lacking}")
    return TransformersEngine(folder, dtype, batch)


ENGINES = {
    "transformers": EngineKind(TransformersOptions, start_transformers),
    "sglang": EngineKind(SglangOptions, SglangEngine),
    "openai": EngineKind(OpenAIOptions, lambda folder, _, batch, options, *__: OpenAIEngine(folder, batch, options)),
}


class LookedUp(Exception):
    """Ends a step that was only to say what of its work the store has."""

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.stored = stored


class _NotThere(Exception):
    """A generation is not in the store, and none is to be made."""


def look(step: Callable[[Sequence[str]], None], words: Sequence[str]) -> Stored:
    """What the store has of a step's questions: the step itself, to where it would generate.

    Args:
        step: the ``main`` of a module that takes :func:`add_engine_arguments`.
        words: its command line, as the rule has it; with ``--look notes``, what would take long to find out counts as
            not there.
    """
    flags = ("--output", "--rollouts")  # nothing is written
    kept = [word for before, word in zip(["", *words], words) if word not in flags and before not in flags]
    try:
        step(kept if "--look" in kept else [*kept, "--look", "all"])
    except LookedUp as found:
        return found.stored
    raise RuntimeError("the step ended without asking its engine")


class CachedEngine:
    """An engine whose generations are kept in the store: equal requests are generated once, and none is generated again
    after a kill.

    ``start`` makes the engine, and is called only when something must be generated; ``identity`` is what defines the
    model's answers: weights, engine, dtype. ``own``, which is called once before that, sees to it that no other process
    generates the same. ``batch`` requests are in flight.
    """

    def __init__(
        self,
        start: Callable[[], Engine],
        identity: Any,
        store: Store,
        title: str,
        own: Callable[[], None] = lambda: None,
        batch: int = 128,
    ) -> None:
        self._start, self.identity, self.store, self.title, self.batch = start, digest(identity), store, title, batch
        self._own: Callable[[], None] | None = own
        self._engine: Engine | None = None
        self.generated = 0
        """Tokens generated in this run, its shards among it; what came from the store is not counted."""
        self.ran: list[dict[str, Any]] = []
        """How the engines ran that generated in this run, its shards among it; none where all came from the store."""
        self.started = time.time()
        """When the work began; earlier by the seconds that its shards took, all together."""
        self.longest: Need | None = None
        """The longest question that will be asked, where that is known: an engine whose context is too short for it is
        refused when it has started, before it generates anything."""
        self.questions = 0
        """How many :meth:`run` was given."""
        self.looks = False
        """Whether it only says what the store has, and generates nothing."""
        self.advance: Callable[[int], None] = lambda questions: None
        """Says how far :meth:`run` is, after so many questions more."""

    def run(self, jobs: Iterable[Job], questions: int, keep: Callable[[Any], None]) -> None:
        """Do jobs (:class:`m1.engines.schedule.Schedule`) with this engine, ``questions`` in all, and say how far they
        are; ``keep`` gets their results in their order.

        Raises:
            LookedUp: it was only to say what the store has (``--look``).
        """
        self.questions = questions
        if self.looks:
            raise LookedUp(self.look_up(jobs))
        with Progress(self.title, questions, "questions") as progress:
            before, began = self.generated, time.monotonic()

            def advance(count: int) -> None:
                tokens = self.generated - before
                rate = tokens / max(time.monotonic() - began, 1e-9)
                progress.advance(count, f"{self.generated:,} tokens, {rate:,.0f} a second" if tokens else "")

            async def counted(job: Job, schedule: Schedule) -> Any:
                result = await job.work(schedule)
                advance(job.questions)
                return result

            shown = (Job(job.questions, partial(counted, job)) for job in jobs)
            self.advance = advance
            Schedule(shown, self.batch, keep).run(self)

    def look_up(self, jobs: Iterable[Job]) -> Stored:
        """Of how many questions the store has all that the jobs would ask; nothing is generated. Questions of one job
        need each other, and count together."""
        there = of = 0
        for job in jobs:
            of += job.questions
            with suppress(_NotThere):
                Schedule(iter([job]), self.batch, lambda result: None).run(self)
                there += job.questions
        return Stored(there, of, "questions")

    def generate(self, requests: Iterable[Request], done: Done) -> None:
        """As every engine (:class:`m1.engines.protocol.Engine`). What the store has is answered at once, without the
        engine, and so is what follows from it."""
        exchange = Exchange(self, requests, done)
        first = next(exchange.missing, None)
        if first and self._own:
            self._own()
            self._own = None
            first = exchange.look_again(first)
        if first is None:
            return
        if self._engine is None:
            self._engine = self._start()
            self.add_ran([getattr(self._engine, "ran", {})])
            self._check_context(getattr(self._engine, "positions", None))
        try:
            self._engine.generate(itertools.chain([first], exchange.missing), exchange.finish)
        finally:
            exchange.put()
        exchange.settle()

    def key(self, request: Request) -> str:
        """The key of a request in the store."""
        return digest([self.identity, *request.defining])

    def add_ran(self, found: Iterable[dict[str, Any]]) -> None:
        """Note how engines ran, each way once."""
        for one in found:
            if one and one not in self.ran:
                self.ran.append(one)

    def _check_context(self, positions: int | None) -> None:
        if self.longest and positions is not None and self.longest.tokens > positions:
            found = f"{self.longest}; the context of its engine has {positions:,}"
            raise UserError(f"{self.title}: {found}. Serve the model with a longer one, as long as its own.")


class Exchange:
    """What passes between one :meth:`CachedEngine.generate`, its store and its engine."""

    def __init__(self, engine: CachedEngine, requests: Iterable[Request], done: Done) -> None:
        self._engine, self._store, self._done = engine, engine.store, done
        self._following: deque[Request] = deque()
        self._flight: dict[str, list[Request]] = {}  # equal requests, the first of which the engine has
        self._keys: dict[int, str] = {}  # of the requests that the engine has, by their identity
        self._unput: dict[str, Generation] = {}
        self._put_at = time.monotonic()
        self._contested: dict[str, int] = {}
        self.missing = self._missing(iter(requests))
        """Requests that the store cannot answer; the others are answered on the way."""

    def _missing(self, source: Iterator[Request]) -> Iterator[Request]:
        while request := self._following.popleft() if self._following else next(source, None):
            key = self._engine.key(request)
            if key in self._flight:
                self._flight[key].append(request)
            elif generation := self._known(key):
                self._following.extend(self._done(request, generation))
            else:
                self._flight[key], self._keys[id(request)] = [request], key
                yield request

    def _known(self, key: str) -> Generation | None:
        if key in self._unput:
            return self._unput[key]
        value = self._store.get(key)
        return value and Generation(tuple(value["token_ids"]), value["finish_reason"])

    def look_again(self, request: Request) -> Request | None:
        """The first request that is missing now: another process may have generated ``request`` meanwhile."""
        del self._flight[self._keys.pop(id(request))]
        self._following.appendleft(request)
        return next(self.missing, None)

    def finish(self, request: Request, generation: Generation) -> list[Request]:
        """Keep what was generated; the requests that follow from it and that the store cannot answer."""
        key = self._keys.pop(id(request))
        self._engine.generated += generation.tokens
        self._unput[key] = generation
        self._engine.advance(0)
        if len(self._unput) >= 64 or time.monotonic() - self._put_at > 5:  # seconds that a kill may cost
            self.put()
        for equal in self._flight.pop(key):
            self._following.extend(self._done(equal, generation))
        return list(self._missing(iter(())))

    def put(self) -> None:
        """Make what was generated durable."""
        found = [(key, {"token_ids": g.token_ids, "finish_reason": g.finish_reason}) for key, g in self._unput.items()]
        self._store.put_many(found)
        if self._store.without_locks:
            self._contested |= {key: hash(generation) for key, generation in self._unput.items()}
        self._unput.clear()
        self._put_at = time.monotonic()

    def settle(self) -> None:
        """See that everything that was used is what the store holds.

        Raises:
            UserError: it is not. That takes a file system without locks and a second process that generated the same
                at the same time, with other tokens.
        """
        self._store.settle()
        other = sum(hash(self._known(key)) != found for key, found in self._contested.items())
        if other:
            found = f"another process has put other tokens for {other:,} generations at the same time"
            raise UserError(f"{self._engine.title}: {found}. Run again: everything is in {self._store.folder}.")


def render(tokenizer: Any, questions: Iterable[Question], style: str) -> list[str]:
    """The prompt for each question (:func:`m1.core.prompts.evaluation_prompt`) by the model's chat template, to the
    opening of the assistant's turn."""
    return [chat(tokenizer, evaluation_prompt(question_text(question), style)) for question in questions]


async def answer_directly(
    schedule: Schedule,
    tokenizer: Any,
    question: Question,
    style: str,
    limit: int,
    *,
    own_stop: bool = False,
    bos: bool = False,
) -> tuple[str, int]:
    """Greedy answer without thinking (3.1, B.3): its text and its tokens.

    Args:
        own_stop: only the model's own end tokens end an answer, not every token that ends or opens a turn.
        bos: the tokenizer's special tokens go before those of the chat template, as a server adds them to text.
    """
    (text,) = render(tokenizer, [question], style)
    prompt = tuple(encode(tokenizer, text, add_special_tokens=bos))
    found = await schedule.ask(Request(prompt, limit, () if own_stop else stop_ids(tokenizer)))
    return tokenizer.decode(found.token_ids, skip_special_tokens=True), found.tokens


def direct_needs(
    tokenizer: Any, asked: Iterable[Asked], style: str, limit: int, *, bos: bool = False
) -> Iterator[Need]:
    """Tokens that each question needs at most, where it is asked by :func:`answer_directly`."""
    for benchmark, question in asked:
        (prompt,) = render(tokenizer, [question], style)
        yield Need(benchmark, question.id, len(encode(tokenizer, prompt, add_special_tokens=bos)), limit)


def add_engine_arguments(parser: argparse.ArgumentParser, step: str | None = None) -> None:
    """The flags of every step that generates; :func:`open_engine` takes them. ``step`` is its module, of which the
    store notes what it has answered in full."""
    parser.set_defaults(step=step)
    parser.add_argument("--name", required=True, help="the model's key")
    parser.add_argument("--model", required=True, type=Path, help="folder of the model")
    borrowed = "folder of the tokenizer whose chat template is borrowed, where the model has none"
    parser.add_argument("--template", type=Path, help=borrowed)
    parser.add_argument("--serve", required=True, type=ServeSettings.from_json, help=f"JSON: {ServeSettings.keys()}")
    parser.add_argument("--runtime", required=True, type=ServeRuntime.from_json, help=f"JSON: {ServeRuntime.keys()}")
    parser.add_argument("--store", required=True, type=Path, help="folder of the store of generations")
    filled = "manifest of the first of the shards that have filled the store, 1-of-N.json"
    parser.add_argument("--gather", type=Path, help=filled)
    parser.add_argument("--output", type=Path, help="Parquet; none by default, for a shard, which only fills the store")
    parser.add_argument("--manifest", required=True, type=Path, help="JSON")
    parser.add_argument("--look", choices=("notes", "all"), help=argparse.SUPPRESS)  # see look()


@contextmanager
def open_engine(arguments: argparse.Namespace, title: str) -> Iterator[tuple[CachedEngine, Any, str]]:
    """The engine that a recipe's ``serve`` asks for, over its store; the model's tokenizer; the model's identity.

    The engine starts with the first request that the store cannot answer, and ends with the context. After shards there
    must be none: the step that gathers runs without their GPUs.

    Raises:
        UserError: an unknown engine or option; something that the shards should have put into the store is not there.
    """
    serve, folder, started = arguments.serve, arguments.model, time.time()
    if serve.engine not in ENGINES:
        raise UserError(f"{title}: serve.engine is {serve.engine!r}; known are {', '.join(ENGINES)}")
    kind = ENGINES[serve.engine]
    options = read(kind.options, serve.options | arguments.runtime.options, f"{title}: serve.options")
    # What is left at its default is no part of the identity, so that writing it down generates nothing again.
    deciding = {key: value for key, value in serve.options.items() if value != getattr(kind.options, key, None)}
    # A look believes what was recorded: to read all weights takes longer than what it wants to know.
    model = (recorded_identity(folder) if arguments.look else "") or model_identity(folder)
    with ExitStack() as stack:

        def start() -> Engine:
            if arguments.gather:
                raise UserError(
                    f"{arguments.store}: generations of {title} are missing, although its shards are done. "
                    f"Remove {arguments.gather.parent} to have its shards look for what is missing, and run again."
                )
            runtime = arguments.runtime
            made = kind.start(folder, serve.dtype, runtime.batch, options, title, runtime.gpus)
            return stack.enter_context(made) if isinstance(made, AbstractContextManager) else made

        store = stack.enter_context((look_into if arguments.look else Store)(arguments.store))
        identity = [model, serve.engine, serve.dtype, *([deciding] if deciding else [])]
        part = digest(identity)

        note = _note(arguments, model) if arguments.step else None
        if arguments.look and note and (questions := note.questions()) is not None:
            raise LookedUp(Stored(questions, questions, "questions"))
        if arguments.look == "notes":
            raise LookedUp(Stored(0, 1, "questions"))

        def own() -> None:
            if arguments.look:
                raise _NotThere
            if note:
                note.path.unlink(missing_ok=True)
            store.share(stack.enter_context(owned_shard(arguments.store, part, arguments.shard, title)))

        engine = CachedEngine(start, identity, store, title, own, arguments.runtime.batch)
        engine.started, engine.looks = started, bool(arguments.look)
        for shard in map(read_json, all_manifests(arguments.gather) if arguments.gather else ()):
            engine.generated += shard["counts"]["generated_now"]
            engine.started -= shard["seconds"]
            engine.add_ran(shard.get("ran", []))
        yield engine, tokenizer_of(folder, arguments.template), model
        if note and note.questions() is None:
            with suppress(OSError, UserError):  # a store that may only be read
                note.write(engine.questions)


def _note(arguments: argparse.Namespace, model: str) -> Answered:
    """The note of a step's flags; questions are in the files of whichever of these flags it has."""
    named = vars(arguments)
    order = [named["order"]] if named.get("order") else []
    files = [*named.get("benchmarks", ()), *([named["questions"]] if "questions" in named else []), *order]
    told = arguments.step, model, arguments.serve, arguments.settings, files
    return Answered.of(arguments.store, *told, arguments.template, arguments.shard)


def write_engine_manifest(
    arguments: argparse.Namespace,
    engine: CachedEngine,
    identity: str,
    questions: Mapping[str, Path],
    settings: Any,
    counts: Mapping[str, int],
    **more: Any,
) -> None:
    """Write the manifest of what a model has answered to ``questions``, name to file; see
    :func:`m1.core.files.write_manifest`."""
    write_manifest(
        arguments.manifest,
        inputs={"model": arguments.model, **questions},
        settings=[settings, asdict(arguments.serve)],
        counts={**counts, "generated_now": engine.generated},
        ran=engine.ran,
        started=engine.started,
        known={"model": identity},
        **more,
    )
