"""What computes attention in a training is what its recipe says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from m1.core.errors import UserError
from m1.train import trainer
from m1.train.settings import TrainRuntime
from training import RUNTIME


def made(asked: str, taken: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A trainer whose model has taken an implementation."""
    model = SimpleNamespace(config=SimpleNamespace(_attn_implementation=taken))
    monkeypatch.setattr(trainer, "Trainer", lambda **_: SimpleNamespace(model=model))
    return trainer.make_trainer(TrainRuntime(**{**RUNTIME, "attention": asked}))


def test_a_kernel_of_the_hub_in_place_of_a_package_that_is_absent_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the package `kernels`, transformers 5 takes one for flash_attention_2 with no more than a warning."""
    said = "train.attention: flash_attention_2 cannot run here, and transformers takes kernels-community/flash-attn2 in"
    with pytest.raises(UserError, match=said):
        made("flash_attention_2", "kernels-community/flash-attn2", monkeypatch)
    with pytest.raises(UserError, match="sdpa cannot run here, and transformers takes eager in its place"):
        made("sdpa", "eager", monkeypatch)


def test_no_attention_is_by_cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    """It plans anew for each shape, which took most of a training's time on an H100."""
    torch.backends.cuda.enable_cudnn_sdp(True)
    made("sdpa", "sdpa", monkeypatch)
    assert not torch.backends.cuda.cudnn_sdp_enabled()


@pytest.mark.parametrize("name", ["sdpa", "eager", "flash_attention_2"])
def test_what_is_asked_for_and_taken_is_right(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(name, name, monkeypatch).model.config._attn_implementation == name
