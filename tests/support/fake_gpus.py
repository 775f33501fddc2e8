"""A torch and a driver with GPUs, as files for programs that a test starts: what they say is what the test is about."""

from __future__ import annotations

from pathlib import Path

TORCH = """\
__version__ = "2.14.1"

class version:
    cuda = {cuda!r}

class cuda:
    is_available = staticmethod(lambda: {works})
    device_count = staticmethod(lambda: {gpus})

class Ones:
    def __matmul__(self, other):
        return self

    def __eq__(self, other):
        return self

    def all(self):
        return {right}

def ones(*shape, device):
    {ones}
    return Ones()
"""


def fake_torch(
    folder: Path,
    gpus: int,
    cuda: str | None = "13.0",
    works: bool = True,
    right: bool = True,
    ones: str = "pass",
) -> Path:
    """A folder for PYTHONPATH with a torch that has GPUs; without ``works``, CUDA does not start and the driver's
    library counts them all the same, as with a driver that is too old.

    Args:
        right: what a product of matrices is.
        ones: a statement that runs where a matrix is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = TORCH.format(cuda=cuda, works=works, gpus=gpus, right=right, ones=ones)
    (folder / "torch.py").write_text(text, encoding="utf-8")
    return folder


def fake_driver(folder: Path, version: str, cards: int, name: str = "NVIDIA H100 80GB HBM3") -> Path:
    """A folder for PATH with an ``nvidia-smi`` that answers with so many cards."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "\\n".join([f"{version}, {name}"] * cards)
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\nprintf '{lines}\\n'\n", encoding="utf-8")
    (folder / "nvidia-smi").chmod(0o755)
    return folder
