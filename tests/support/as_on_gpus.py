"""``m1.train.sft`` as it runs on GPUs, on a CPU: a program for torchrun, with the flags of ``m1.train.sft``.

``EMULATED`` in the environment names what is emulated, separated by commas: ``fsdp2``, real FSDP2 by torch over gloo
(accelerate refuses it without GPUs, so it is told the kind of distribution behind its back), and ``rows``, samples of a
micro-batch in one row without padding. With ``dies``, a SIGKILL comes when the trained model is to be saved; with
``flat``, trl gets single samples and makes micro-batches of them by itself. What was seen of it is said in JSON on the
first process's standard output.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import torch
import yaml
from accelerate import state
from accelerate.utils import DistributedType
from m1.core.places import locate
from m1.train import sft, trainer
from torch.distributed import fsdp
from torch.distributed.fsdp._fully_shard._fsdp_param import FSDPParam
from torch.distributed.tensor import DTensor
from torch.utils.data import Sampler

NAMES = "timeouts", "policies", "outputs", "kept whole", "gathered"
SEEN: dict[str, set[str]] = {name: set() for name in NAMES}
"""How long processes wait for each other, the mixed-precision policies of what was sharded, the types of the tokens'
log-probabilities, of gradients that a process kept whole until the step, and of tensors that were gathered whole."""


def shard_on_cpu() -> None:
    """Let accelerate shard by FSDP2 where it found several processes on CPUs."""
    path = locate("config/accelerate/fsdp2.yaml")
    trainer.choose_fsdp(yaml.safe_load(path.read_text(encoding="utf-8"))["fsdp_config"], checkpointing=True)
    made: Any = state.AcceleratorState.__init__

    def sharded(self: Any, *arguments: Any, fsdp_plugin: Any = None, **named: Any) -> None:
        first = not state.AcceleratorState._shared_state
        made(self, *arguments, fsdp_plugin=fsdp_plugin, **named)
        if first and fsdp_plugin is not None:
            self.distributed_type = DistributedType.FSDP
            state.PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            if self._mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(self._mixed_precision)
            self.fsdp_plugin = fsdp_plugin

    setattr(state.AcceleratorState, "__init__", sharded)  # noqa: B010


def watch() -> None:
    """Note how processes join, and what is sharded and gathered."""
    start, shard, gather = torch.distributed.init_process_group, fsdp.fully_shard, DTensor.full_tensor
    keep, compute_loss = FSDPParam.to_accumulated_grad_if_needed, trainer.SFTTrainer.compute_loss

    def starting(*arguments: Any, **named: Any) -> Any:
        SEEN["timeouts"].add(str(named.get("timeout")))
        return start(*arguments, **named)

    def sharding(*arguments: Any, **named: Any) -> Any:
        policy = named["mp_policy"]
        SEEN["policies"].add(f"{policy.param_dtype} {policy.reduce_dtype} {policy.output_dtype}")
        return shard(*arguments, **named)

    def gathering(self: DTensor, **named: Any) -> torch.Tensor:
        if self.ndim:  # no norm of the gradients
            SEEN["gathered"].add(str(self.dtype))
        return gather(self, **named)

    def keeping(self: FSDPParam) -> None:
        keep(self)
        if self.unsharded_accumulated_grad is not None:
            SEEN["kept whole"].add(str(self.unsharded_accumulated_grad.dtype))

    def computing(self: Any, model: Any, *arguments: Any, **named: Any) -> Any:
        def look(_: Any, __: Any, outputs: Any) -> None:
            SEEN["outputs"].add(str(outputs.log_probs.dtype))

        hook = model.register_forward_hook(look)
        loss = compute_loss(self, model, *arguments, **named)
        hook.remove()
        return loss

    setattr(torch.distributed, "init_process_group", starting)  # noqa: B010
    setattr(trainer.Trainer, "compute_loss", computing)  # noqa: B010
    setattr(FSDPParam, "to_accumulated_grad_if_needed", keeping)  # noqa: B010
    setattr(fsdp, "fully_shard", sharding)  # noqa: B010
    setattr(DTensor, "full_tensor", gathering)  # noqa: B010


def take_single_samples() -> None:
    """Let trl cut the order of samples into micro-batches, as it does with any sampler."""

    class Flat(Sampler[int]):
        def __init__(self, parts: trainer.BatchSampler) -> None:
            self.parts = parts

        def __len__(self) -> int:
            return self.parts.steps * self.parts.per_step

        def __iter__(self) -> Iterator[int]:
            return (index for part in self.parts for index in part)

    own: Any = trainer.SFTTrainer
    setattr(trainer.Trainer, "get_train_dataloader", own.get_train_dataloader)  # noqa: B010
    setattr(trainer.Trainer, "_get_train_sampler", lambda self, _: Flat(self.sampler))  # noqa: B010


def main() -> None:
    emulated = os.environ["EMULATED"].split(",")
    if "rows" in emulated:
        trainer.runs_without_padding = lambda attention, on_gpu: True
    if "fsdp2" in emulated:
        shard_on_cpu()
        watch()
    if "flat" in emulated:
        take_single_samples()
    if "dies" in emulated:
        trainer.save = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
    sft.main()
    if os.environ["RANK"] == "0":
        sys.stdout.write("SEEN " + json.dumps({key: sorted(values) for key, values in SEEN.items()}) + "\n")


if __name__ == "__main__":
    main()
