"""Generating with any engine, with everything generated kept in the store (3.3, B.3)."""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from m1.core.chat import chat, stop_ids, tokenizer_of
from m1.core.errors import UserError
from m1.core.files import digest, model_identity, read_json, write_manifest
from m1.core.progress import Progress
from m1.core.prompts import evaluation_prompt, question_text
from m1.core.records import Question
from m1.core.settings import read
from m1.core.store import Store
from m1.core.tokens import encode
from m1.engines.context import Need
from m1.engines.openai import OpenAIEngine, OpenAIOptions
from m1.engines.protocol import Engine, Generation, Request
from m1.engines.settings import ServeRuntime, ServeSettings
from m1.engines.sglang import SglangEngine, SglangOptions
from m1.engines.shards import Parts, all_manifests, owned_shard
from m1.engines.transformers import TransformersEngine, TransformersOptions


class EngineKind(NamedTuple):
    """An engine that ``serve.engine`` can name: the dataclass of ``serve.options``, and what makes the engine from the
    model's folder, dtype, requests at a time, options, and title for messages.

    An engine that is a context manager is entered, and left at the end of the step.
    """

    options: type[Any]
    start: Callable[[Path, str, int, Any, str], Engine]


ENGINES = {
    "transformers": EngineKind(TransformersOptions, lambda *given: TransformersEngine(*given[:3])),
    "sglang": EngineKind(SglangOptions, SglangEngine),
    "openai": EngineKind(OpenAIOptions, lambda folder, _, batch, options, __: OpenAIEngine(folder, batch, options)),
}


class CachedEngine:
    """An engine whose generations are kept in the store: equal requests are generated once, and none is generated again
    after a kill.

    ``start`` makes the engine, and is called only when something must be generated; ``identity`` is what defines the
    model's answers: weights, engine, dtype. ``own``, which is called once before that, sees to it that no other process
    generates the same.
    """

    def __init__(
        self,
        start: Callable[[], Engine],
        identity: Any,
        store: Store,
        title: str,
        own: Callable[[], None] = lambda: None,
    ) -> None:
        self._start, self.identity, self.store, self.title = start, digest(identity), store, title
        self._own: Callable[[], None] | None = own
        self._engine: Engine | None = None
        self.generated = 0
        """Tokens generated in this run, its shards among it; what came from the store is not counted."""
        self.started = time.time()
        """When the work began; earlier by the seconds that its shards took, all together."""
        self.longest: Need | None = None
        """The longest question that will be asked, where that is known: an engine whose context is too short for it is
        refused when it has started, before it generates anything."""

    def generate(self, requests: Sequence[Request], what: str) -> list[Generation]:
        """Generations in the order of the requests; ``what`` names them on the progress line."""
        keys = [digest([self.identity, *request.defining]) for request in requests]
        wanted = self._wanted(keys, requests)
        if wanted and self._own:
            self._own()
            self._own = None
            wanted = self._wanted(keys, requests)
        if wanted:
            self._generate(wanted, what)
            self.store.settle()
        return [Generation(tuple(value["token_ids"]), value["finish_reason"]) for value in map(self.store.get, keys)]

    def _wanted(self, keys: Sequence[str], requests: Sequence[Request]) -> dict[str, Request]:
        return {key: request for key, request in zip(keys, requests) if key not in self.store}

    def _generate(self, wanted: dict[str, Request], what: str) -> None:
        if self._engine is None:
            self._engine = self._start()
            self._check_context(getattr(self._engine, "positions", None))
        names, put_at = {request: key for key, request in wanted.items()}, time.monotonic()
        waiting: list[tuple[str, dict[str, Any]]] = []

        def put() -> None:
            nonlocal put_at
            self.store.put_many(waiting)
            waiting.clear()
            put_at = time.monotonic()

        def done(request: Request, generation: Generation) -> tuple[()]:
            self.generated += generation.tokens
            value = {"token_ids": generation.token_ids, "finish_reason": generation.finish_reason}
            waiting.append((names[request], value))
            if len(waiting) >= 64 or time.monotonic() - put_at > 5:  # seconds that a kill may cost
                put()
            progress.advance(note=f"{self.generated:,} tokens")
            return ()

        with Progress(f"{self.title}: {what}", len(wanted), "generations") as progress:
            try:
                self._engine.generate(list(wanted.values()), done)
            finally:
                put()

    def _check_context(self, positions: int | None) -> None:
        if self.longest and positions is not None and self.longest.tokens > positions:
            found = f"{self.longest}; the context of its engine has {positions:,}"
            raise UserError(f"{self.title}: {found}. Serve the model with a longer one, as long as its own.")

    def answers(self, tokenizer: Any, requests: Sequence[Request], where: str) -> list[tuple[str, int]]:
        """Answer text and its tokens, in the order of the requests."""
        found = self.generate(requests, f"answers{where}")
        return [(tokenizer.decode(one.token_ids, skip_special_tokens=True), one.tokens) for one in found]


def render(tokenizer: Any, questions: Iterable[Question], style: str) -> list[str]:
    """The prompt for each question (:func:`m1.core.prompts.evaluation_prompt`) by the model's chat template, to the
    opening of the assistant's turn."""
    return [chat(tokenizer, evaluation_prompt(question_text(question), style)) for question in questions]


def answer_directly(
    engine: CachedEngine,
    tokenizer: Any,
    questions: Sequence[Question],
    style: str,
    limit: int,
    where: str = "",
    *,
    own_stop: bool = False,
    bos: bool = False,
) -> list[tuple[str, int]]:
    """Greedy answers without thinking (3.1, B.3), as :meth:`CachedEngine.answers` gives them.

    Args:
        own_stop: only the model's own end tokens end an answer, not every token that ends or opens a turn.
        bos: the tokenizer's special tokens go before those of the chat template, as a server adds them to text.
    """
    stop = () if own_stop else stop_ids(tokenizer)
    prompts = [encode(tokenizer, text, add_special_tokens=bos) for text in render(tokenizer, questions, style)]
    return engine.answers(tokenizer, [Request(tuple(prompt), limit, stop) for prompt in prompts], where)


def direct_needs(tokenizer: Any, asked: Parts, style: str, limit: int, *, bos: bool = False) -> Iterator[Need]:
    """Tokens that each question needs at most, where it is asked by :func:`answer_directly`."""
    for _, questions in asked:
        prompts = render(tokenizer, [question for _, question in questions], style)
        for (benchmark, question), prompt in zip(questions, prompts):
            yield Need(benchmark, question.id, len(encode(tokenizer, prompt, add_special_tokens=bos)), limit)


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of every step that generates; :func:`open_engine` takes them."""
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
    model = model_identity(folder)
    with ExitStack() as stack:

        def start() -> Engine:
            if arguments.gather:
                raise UserError(
                    f"{arguments.store}: generations of {title} are missing, although its shards are done. "
                    f"Remove {arguments.gather.parent} to have its shards look for what is missing, and run again."
                )
            made = kind.start(folder, serve.dtype, arguments.runtime.batch, options, title)
            return stack.enter_context(made) if isinstance(made, AbstractContextManager) else made

        store = stack.enter_context(Store(arguments.store))
        identity = [model, serve.engine, serve.dtype, *([deciding] if deciding else [])]
        part = digest(identity)

        def own() -> None:
            store.share(stack.enter_context(owned_shard(arguments.store, part, arguments.shard, title)))

        engine = CachedEngine(start, identity, store, title, own)
        engine.started = started
        for shard in map(read_json, all_manifests(arguments.gather) if arguments.gather else ()):
            engine.generated += shard["counts"]["generated_now"]
            engine.started -= shard["seconds"]
        yield engine, tokenizer_of(folder, arguments.template), model


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
        started=engine.started,
        known={"model": identity},
        **more,
    )
