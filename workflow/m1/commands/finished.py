"""What finished steps of this configuration took on GPUs, by their manifests: part of ``make plan``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m1.core.files import read_json

MOST = 0.5  # the share of a step's tokens, at least, that its own seconds must have made, to say how long a token takes


@dataclass(frozen=True)
class Finished:
    """A step that is done."""

    tokens: int  # trained on, over all epochs, or generated
    each: float  # tokens for each question, or for each sample and epoch
    seconds: float | None  # of a GPU for each token; None where the store or an earlier run had most of them


def training(folder: Path) -> Finished | None:
    """A training whose model is in ``folder``; None where there is none, or one that did not run on GPUs here."""
    made = _manifest(folder / "manifest.json")
    ran = made.get("ran", {})
    if ran.get("device", "CPU") == "CPU":
        return None
    counts, epochs = made["counts"], made["settings"]["epochs"]
    tokens = counts["tokens"] * epochs
    seconds = None if ran["resumed"] else made["seconds"] * ran["processes"] / tokens
    return Finished(tokens, counts["tokens"] / counts["samples"], seconds)


def generation(manifest: Path, gpus: int) -> Finished | None:
    """A step that generated on so many GPUs; None where it is not done, or its tokens are not known."""
    made = _manifest(manifest)
    counts = made.get("counts", {})
    new = counts.get("generated_now", 0)
    tokens = sum(counts.get(f"{part}_tokens", 0) for part in ("rollout", "forced", "answer", "companion")) or new
    if not tokens:
        return None
    seconds = made["seconds"] * gpus / new if new >= MOST * tokens else None
    return Finished(tokens, tokens / counts["questions"], seconds)


def seconds(manifest: Path) -> float | None:
    """Seconds of a training or of answers that were made in one go; None where there is none, or a store or an earlier
    try had a part of them."""
    made = _manifest(manifest)
    if not made or (made.get("ran") and isinstance(made["ran"], dict) and made["ran"].get("resumed")):
        return None
    counts = made["counts"]
    parts = ("rollout", "forced", "answer", "companion")
    tokens = sum(counts.get(f"{part}_tokens", 0) for part in parts)
    return None if tokens > counts.get("generated_now", 0) else float(made["seconds"])


def _manifest(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}
