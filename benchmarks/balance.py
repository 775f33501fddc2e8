"""How much of its processes' work a training uses, by the order of samples: no GPU needed, none measured.

    python benchmarks/balance.py

Lengths are log-normal with the mean and the spread that are named; 0.68 is the spread of m23K's thinking as its authors
printed it. Processes wait for the slowest one after each micro-batch, and a micro-batch costs its tokens, padding
included: attention's own share, communication and kernels are left out. The share used is the samples' tokens over what
all processes could have computed in that time. Micro-batches are dealt by accelerate's own code.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))

from accelerate.data_loader import BatchSamplerShard
from m1.core.errors import run
from m1.train.trainer import BatchSampler, divide_batch

BATCH, SAMPLES, MEAN, LONGEST, SHORTEST = 16, 23_493, 1350, 8400, 160
SPREADS = (0.35, 0.5, 0.68)
SHAPES = ((8, 2), (16, 1), (1, 2))
"""Processes, and samples at a time on each: 7B on 8 GPUs, 32B on 16, one card."""


def made(spread: float, samples: int = SAMPLES) -> list[int]:
    """Lengths in tokens; ``spread`` is the standard deviation of their logarithm."""
    rng, middle = random.Random(0), math.log(MEAN) - spread**2 / 2
    return [min(LONGEST, max(SHORTEST, round(rng.lognormvariate(middle, spread)))) for _ in range(samples)]


def share_used(lengths: Sequence[int], processes: int, most: int, balanced: bool) -> float:
    """Of an epoch in steps of :data:`BATCH` samples; ``most`` is a recipe's ``per_device``.

    Args:
        balanced: without padding, micro-batches of like numbers of tokens; else equally many samples, padded.
    """
    per_device, _ = divide_batch(BATCH, processes, most)
    sampler = BatchSampler(lengths, BATCH, 42, grouped=False, parts=BATCH // per_device, balanced=balanced)
    dealt = [list(BatchSamplerShard(cast(Any, sampler), processes, rank)) for rank in range(processes)]

    def cost(micro_batch: Sequence[int]) -> int:
        tokens = [lengths[place] if place < len(lengths) else 2 for place in micro_batch]
        return sum(tokens) if balanced else len(tokens) * max(tokens)

    waited = sum(max(map(cost, at_a_time)) for at_a_time in zip(*dealt, strict=True))
    return sum(lengths) / (processes * waited)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    samples = parser.parse_args(argv).samples
    print("| spread | processes × samples at a time | sorted pairs, padded | like tokens, without padding |")
    print("|---|---|---|---|")
    for spread in SPREADS:
        lengths = made(spread, samples)
        for processes, most in SHAPES:
            before, now = (share_used(lengths, processes, most, balanced) for balanced in (False, True))
            print(f"| {spread:g} | {processes} × {most} | {before:.2f} | {now:.2f} |")
    print(f"\n{samples:,} samples of {MEAN:,} tokens on average, steps of {BATCH}. Modelled: no GPU ran.")


if __name__ == "__main__":
    run(main)
