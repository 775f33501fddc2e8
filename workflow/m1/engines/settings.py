"""What a step that generates tokens is told about its engine (docs/paper.md)."""

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
    """What of ``serve`` decides answers: a key of :data:`m1.engines.cached.ENGINES`, the dtype of weights and
    arithmetic, and the options that decide."""

    engine: str
    dtype: str
    options: dict[str, Any]


@dataclass(frozen=True)
class ServeRuntime(Settings):
    """What of ``serve`` says where and how fast, and decides no answer: requests at a time, the other options, and the
    GPUs that the job is given (none: what is there is taken)."""

    batch: Count
    options: dict[str, Any]
    gpus: int = 0


@dataclass(frozen=True)
class Answered:
    """A note in a store: all that a step asks of a model is there. To know it without the note, each question would
    have to be laid out and its tokens counted, which takes seconds to minutes."""

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
    ) -> "Answered":
        """The note of a step (its module) with a model (its identity); ``files`` are those of the questions."""
        asked = [asdict(serve), json.loads(settings), [sha256_file(file) for file in files], list(shard)]
        decided = [fingerprint(step), model, template and chat_template(template), *asked]
        return cls(store / f".answered-{digest(decided)[:16]}")

    def write(self, questions: int) -> None:
        """Note that all of so many questions are answered."""
        write_json(self.path, {"questions": questions, "segments": self._segments()})

    def questions(self) -> int | None:
        """How many questions are answered; None without a note, or where a segment is gone or shorter since."""
        if not self.path.is_file():
            return None
        said, now = read_json(self.path), self._segments()
        whole = all(now.get(name, -1) >= size for name, size in said["segments"].items())
        return int(said["questions"]) if whole else None

    def _segments(self) -> dict[str, int]:
        return {path.name: path.stat().st_size for path in sorted(self.path.parent.glob("*.jsonl"))}
