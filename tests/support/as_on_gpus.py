"""``m1.train.sft`` as it runs on GPUs, on a CPU: a program for torchrun, with the flags of ``m1.train.sft``.

``EMULATED`` in the environment names what is emulated, separated by commas: ``fsdp2``, real FSDP2 by torch over gloo
(accelerate refuses it without GPUs, so it is told the kind of distribution behind its back), and ``rows``, samples of a
micro-batch in one row without padding. What reached FSDP2 is said in JSON on the first process's standard output.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch
import yaml
from accelerate import state
from accelerate.utils import DistributedType
from m1.core.places import locate
from m1.train import sft, trainer
from torch.distributed import fsdp
from torch.distributed.tensor import DTensor

SEEN: dict[str, set[str]] = {"policies": set(), "gathered": set()}
"""Mixed-precision policies of what was sharded, and types of the tensors that were gathered whole."""


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
    """Note what is sharded and gathered."""
    shard, gather = fsdp.fully_shard, DTensor.full_tensor

    def sharding(*arguments: Any, **named: Any) -> Any:
        policy = named["mp_policy"]
        SEEN["policies"].add(f"{policy.param_dtype} {policy.reduce_dtype} {policy.output_dtype}")
        return shard(*arguments, **named)

    def gathering(self: DTensor, **named: Any) -> torch.Tensor:
        if self.ndim:  # no norm of the gradients
            SEEN["gathered"].add(str(self.dtype))
        return gather(self, **named)

    setattr(fsdp, "fully_shard", sharding)  # noqa: B010
    setattr(DTensor, "full_tensor", gathering)  # noqa: B010


def main() -> None:
    emulated = os.environ["EMULATED"].split(",")
    if "rows" in emulated:
        trainer.runs_without_padding = lambda attention, on_gpu: True  # noqa: ARG005
    if "fsdp2" in emulated:
        shard_on_cpu()
        watch()
    sft.main()
    if os.environ["RANK"] == "0":
        sys.stdout.write("SEEN " + json.dumps({key: sorted(values) for key, values in SEEN.items()}) + "\n")


if __name__ == "__main__":
    main()
