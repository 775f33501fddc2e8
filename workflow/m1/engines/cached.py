"""Generating with any engine, with everything generated kept in the store (3.3, B.3)."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from m1.core.chat import tokenizer_of
from m1.core.errors import UserError
from m1.core.files import digest, model_identity, read_json, write_manifest
from m1.core.progress import Progress
from m1.core.settings import read
from m1.core.store import Store
from m1.engines.openai import OpenAIEngine, OpenAIOptions
from m1.engines.protocol import Engine, Generation, Request
from m1.engines.settings import ServeRuntime, ServeSettings
from m1.engines.sglang import SglangEngine, SglangOptions
from m1.engines.shards import all_manifests
from m1.engines.transformers import TransformersEngine, TransformersOptions


@dataclass(frozen=True)
class EngineKind:
    """An engine that ``serve.engine`` can name."""

    options: type[Any]
    """Dataclass of ``serve.options``."""
    start: Callable[[Path, str, int, Any, str], Engine]
    """Makes the engine from the model's folder, dtype, requests at a time, options, and title for messages. An engine
    that is a context manager is entered, and left at the end of the step."""


ENGINES = {
    "transformers": EngineKind(
        TransformersOptions, lambda folder, dtype, batch, options, title: TransformersEngine(folder, dtype, batch)
    ),
    "sglang": EngineKind(SglangOptions, SglangEngine),
    "openai": EngineKind(
        OpenAIOptions, lambda folder, dtype, batch, options, title: OpenAIEngine(folder, batch, options)
    ),
}
"""What ``serve.engine`` can be."""
STORE_EVERY = 5.0
"""Seconds that a finished generation waits at most to be put into the store with others."""


class CachedEngine:
    """An engine whose generations are kept in the store: equal requests are generated once, and none is generated again
    after a kill.

    Args:
        start: makes the engine, called only when something must be generated.
        identity: what defines the model's answers: weights, engine, dtype.
        title: for the progress line.
    """

    def __init__(self, start: Callable[[], Engine], identity: Any, store: Store, title: str) -> None:
        self._start, self.identity, self.store, self.title = start, digest(identity), store, title
        self._engine: Engine | None = None
        self.generated = 0
        """Tokens generated in this run, its shards among it; what came from the store is not counted."""
        self.seconds = 0.0
        """That the shards took, all together."""

    def generate(self, requests: Sequence[Request], what: str) -> list[Generation]:
        """Generations in the order of the requests; ``what`` names them on the progress line."""
        keys = [digest([self.identity, *request.defining]) for request in requests]
        wanted = {key: request for key, request in zip(keys, requests) if key not in self.store}
        if wanted:
            self._engine = self._engine or self._start()
            names = list(wanted)
            waiting: list[tuple[str, dict[str, Any]]] = []
            put_at = time.monotonic()

            def put() -> None:
                nonlocal put_at
                self.store.put_many(waiting)
                waiting.clear()
                put_at = time.monotonic()

            with Progress(f"{self.title}: {what}", len(wanted), "generations") as progress:

                def done(position: int, generation: Generation) -> None:
                    self.generated += generation.tokens
                    waiting.append(
                        (
                            names[position],
                            {"token_ids": generation.token_ids, "finish_reason": generation.finish_reason},
                        )
                    )
                    if len(waiting) >= 64 or time.monotonic() - put_at > STORE_EVERY:
                        put()
                    progress.advance(note=f"{self.generated:,} tokens")

                try:
                    self._engine.generate(list(wanted.values()), done)
                finally:
                    put()
        return [Generation(tuple(value["token_ids"]), value["finish_reason"]) for value in map(self.store.get, keys)]


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of every step that generates; :func:`open_engine` takes them."""
    parser.add_argument("--name", required=True, help="the model's key")
    parser.add_argument("--model", required=True, type=Path, help="folder of the model")
    parser.add_argument(
        "--template",
        type=Path,
        help="folder of the tokenizer whose chat template is borrowed, where the model has none",
    )
    parser.add_argument("--serve", required=True, type=ServeSettings.from_json, help=f"JSON: {ServeSettings.keys()}")
    parser.add_argument("--runtime", required=True, type=ServeRuntime.from_json, help=f"JSON: {ServeRuntime.keys()}")
    parser.add_argument("--store", required=True, type=Path, help="folder of the store of generations")
    parser.add_argument(
        "--gather", type=Path, help="manifest of the first of the shards that have filled the store, 1-of-N.json"
    )
    parser.add_argument("--output", type=Path, help="Parquet; none by default, for a shard, which only fills the store")
    parser.add_argument("--manifest", required=True, type=Path, help="JSON")


@contextmanager
def open_engine(arguments: argparse.Namespace, title: str) -> Iterator[tuple[CachedEngine, Any, str]]:
    """The engine that a recipe's ``serve`` asks for, over its store, the model's tokenizer, and its identity; see
    :func:`add_engine_arguments`.

    The engine starts with the first request that the store cannot answer, and ends with the context. After shards there
    must be none: the step that gathers runs without their GPUs.

    Raises:
        UserError: an unknown engine or option; something that the shards should have put into the store is not there.
    """
    serve, folder, batch = arguments.serve, arguments.model, arguments.runtime.batch
    name, dtype = serve.engine, serve.dtype
    if name not in ENGINES:
        raise UserError(f"{title}: serve.engine is {name!r}; known are {', '.join(ENGINES)}")
    kind = ENGINES[name]
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
            made = kind.start(folder, dtype, batch, options, title)
            return stack.enter_context(made) if isinstance(made, AbstractContextManager) else made

        store = stack.enter_context(Store(arguments.store))
        engine = CachedEngine(start, [model, name, dtype, *([deciding] if deciding else [])], store, title)
        for shard in map(read_json, all_manifests(arguments.gather) if arguments.gather else ()):
            engine.generated += shard["counts"]["generated_now"]
            engine.seconds += shard["seconds"]
        yield engine, tokenizer_of(folder, arguments.template), model


def write_engine_manifest(
    arguments: argparse.Namespace,
    engine: CachedEngine,
    identity: str,
    questions: Mapping[str, Path],
    settings: Any,
    counts: Mapping[str, int],
    started: float,
    **more: Any,
) -> None:
    """Write the manifest of what a model has answered; see :func:`add_engine_arguments` and
    :func:`m1.core.files.write_manifest`.

    Args:
        questions: name to file.
        started: when this process began; what shards took before is added.
    """
    write_manifest(
        arguments.manifest,
        inputs={"model": arguments.model, **questions},
        settings=[settings, asdict(arguments.serve)],
        counts={**counts, "generated_now": engine.generated},
        started=started - engine.seconds,
        known={"model": identity},
        **more,
    )
