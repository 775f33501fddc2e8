"""Settings of the engine of a step that generates tokens (docs/paper.md)."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from m1.core.chat import chat_template
from m1.core.files import digest, read_json, sha256_file, write_json
from m1.core.fingerprint import fingerprint
from m1.core.settings import Count, Settings


@dataclass(frozen=True)
class ServeSettings(Settings):
    """The part of ``serve`` that decides answers."""

    engine: str  # a key of m1.engines.cached.ENGINES
    dtype: str  # of weights and arithmetic
    options: dict[str, Any]  # the options that decide answers


@dataclass(frozen=True)
class ServeRuntime(Settings):
    """The part of ``serve`` that says where and how fast a model answers, and decides no answer."""

    batch: Count  # requests in flight
    options: dict[str, Any]  # the other options
    gpus: int = 0  # number of the job's GPUs; with 0, the engine takes what it finds


@dataclass(frozen=True)
class AnswerNote:
    """A note in a store that it has everything that a step asks of a model.

    Without the note, every question would have to be rendered and encoded to find that out, which takes up to minutes.
    """

    path: Path

    @classmethod
    def of(
        cls,
        store: Path,
        step: str,
        model: str,
        serve: ServeSettings,
        settings: str,
        files: Sequence[Path],
        template: Path | None = None,
        shard: tuple[int, int] = (1, 1),
    ) -> "AnswerNote":
        """The note of a step, by its module (``step``), the model's identity, and all else that decides what it asks.

        The step's ``settings`` are JSON, ``files`` have the questions, and ``template`` is the folder of a tokenizer
        whose chat template is borrowed.
        """
        asked = [asdict(serve), json.loads(settings), [sha256_file(file) for file in files], list(shard)]
        decided = [fingerprint(step), model, template and chat_template(template), *asked]
        return cls(store / f".answered-{digest(decided)[:16]}")

    def write(self, questions: int) -> None:
        """Note that all questions are answered."""
        write_json(self.path, {"questions": questions, "segments": self._segments()})

    def questions(self) -> int | None:
        """Number of answered questions; None if there is no note, or if a segment is gone or has become shorter."""
        if not self.path.is_file():
            return None
        said, now = read_json(self.path), self._segments()
        whole = all(now.get(name, -1) >= size for name, size in said["segments"].items())
        return int(said["questions"]) if whole else None

    def _segments(self) -> dict[str, int]:
        return {path.name: path.stat().st_size for path in sorted(self.path.parent.glob("*.jsonl"))}
