"""Read from manifests what finished steps of a configuration took on GPUs; part of ``make plan``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m1.core.files import read_json

PARTS = ("rollout", "forced", "answer", "companion")  # of the tokens that a step generates
MOST = 0.5  # a step must itself have generated at least this share of its tokens for its seconds per token to count


@dataclass(frozen=True)
class Finished:
    """The measured time and tokens of a finished step."""

    tokens: int  # tokens trained on over all epochs, or generated
    each: float  # tokens of each question, or of each sample and epoch
    seconds: float | None  # seconds of a GPU for each token; None if the store or an earlier run had most of them


def training(folder: Path) -> Finished | None:
    """Read the cost of the training in ``folder``; None if there is none, or if it did not run on GPUs here."""
    made = _manifest(folder / "manifest.json")
    ran = made.get("ran", {})
    if ran.get("device", "CPU") == "CPU":
        return None
    counts, epochs = made["counts"], made["settings"]["epochs"]
    tokens = counts["tokens"] * epochs
    seconds = None if ran["resumed"] else made["seconds"] * ran["processes"] / tokens
    return Finished(tokens, counts["tokens"] / counts["samples"], seconds)


def generation(manifest: Path, gpus: int) -> Finished | None:
    """Read the cost of a step that generated on ``gpus`` GPUs; None if it is unfinished or its tokens are unknown."""
    made = _manifest(manifest)
    counts = made.get("counts", {})
    new = counts.get("generated_now", 0)
    tokens = sum(counts.get(f"{part}_tokens", 0) for part in PARTS) or new
    if not tokens:
        return None
    seconds = made["seconds"] * gpus / new if new >= MOST * tokens else None
    return Finished(tokens, tokens / counts["questions"], seconds)


def seconds(manifest: Path) -> float | None:
    """Seconds of a finished training or generation; None if it does not exist, or if it did not do all of its work in
    one run."""
    made = _manifest(manifest)
    if not made or (made.get("ran") and isinstance(made["ran"], dict) and made["ran"].get("resumed")):
        return None
    counts = made["counts"]
    tokens = sum(counts.get(f"{part}_tokens", 0) for part in PARTS)
    return None if tokens > counts.get("generated_now", 0) else float(made["seconds"])


def _manifest(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}
