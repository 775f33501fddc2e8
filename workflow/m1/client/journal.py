"""What is known of a batch of calls, and its journal in the store's folder, which outlives this process (see
:mod:`m1.client.batch`)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from m1.core.errors import UserError
from m1.core.files import read_json, replacing, sync_folder

PATTERN = "batch-*.json"
FIELDS = ("mark", "base_url", "input_file", "id", "submitted", "dollars_at_most", "keys")


@dataclass
class SubmittedBatch:
    """A batch as its journal has it, and what is known of it besides."""

    mark: str
    """In the metadata at the provider; unique, since it is made from the uploaded file's id."""
    base_url: str
    input_file: str
    keys: list[str]
    dollars_at_most: float
    submitted: float
    """Seconds since 1970."""
    id: str | None = None
    status: str = "to be created"
    answered: int = 0
    """As the provider counts."""
    refused: int = 0
    tried: bool = True
    """Whether it may have been created without our knowing its id."""
    short: int = 0
    """How often its files held fewer answers than the provider counts; they may come late, or be cut."""
    sought: int = 0
    """How often it was not in the provider's list, which may lag behind."""
    pending: set[str] = field(default_factory=set)
    """Keys of which nothing is known yet."""

    def __post_init__(self) -> None:
        self.pending = set(self.keys)

    def path(self, folder: Path) -> Path:
        return folder / f"batch-{self.mark[:16]}.json"

    def write(self, folder: Path) -> None:
        _write(
            self.path(folder), {name: getattr(self, name) for name in FIELDS} | {"count": len(self.keys), "done": False}
        )

    def write_done(self, folder: Path, counts: Mapping[str, int]) -> None:
        """Mark the journal done: all that the batch has answered is in the store."""
        kept = {name: getattr(self, name) for name in FIELDS if name != "keys"}
        _write(self.path(folder), kept | {"count": len(self.keys), "status": self.status} | {**counts, "done": True})

    @classmethod
    def read(cls, path: Path) -> SubmittedBatch | None:
        """The batch of a journal that is not done."""
        journal = read_json(path)
        try:
            return None if journal["done"] else cls(**{name: journal[name] for name in FIELDS})
        except (KeyError, TypeError):
            raise UserError(
                f"{path}: not a journal of a batch. If you changed it, restore it; if you delete it, the "
                "batch's calls are paid for again."
            ) from None


def _write(path: Path, journal: Mapping[str, Any]) -> None:
    """Write a journal so that it survives a power cut."""
    with replacing(path) as partial, open(partial, "w", encoding="utf-8") as stream:
        json.dump(journal, stream, indent=2)
        stream.flush()
        os.fsync(stream.fileno())
    sync_folder(path.parent)
