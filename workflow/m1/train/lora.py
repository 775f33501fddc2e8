"""Fine-tuning by an adapter (LoRA) in place of all weights, so that one card is enough: a recipe's ``sft.lora``.

peft puts two small matrices beside each linear layer and trains them alone; at the end they are merged into the base,
so that nothing downstream notices. The paper trains all weights.
"""

import os
from pathlib import Path
from typing import Any

import yaml

from m1.core.errors import UserError
from m1.core.places import locate
from m1.core.pretrained import load
from m1.train.settings import LoraSettings, SftSettings, TrainRuntime


def check(settings: SftSettings, runtime: TrainRuntime) -> None:
    """Stop before anything is loaded where an adapter cannot be trained so.

    Raises:
        UserError: processes would share out the weights (FSDP), or a base in bfloat16 would meet arithmetic in float32.
    """
    if settings.lora is None:
        return
    if settings.lora.base_dtype == "bfloat16" and not settings.bf16:
        raise UserError(
            "sft.lora.base_dtype: bfloat16 with sft.bf16 false, which is arithmetic in float32; set sft.bf16 to true, "
            "or base_dtype to float32"
        )
    path = locate(f"config/accelerate/{runtime.strategy}.yaml")
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1 and path.is_file()
    if several and yaml.safe_load(path.read_text(encoding="utf-8")).get("fsdp_config"):
        raise UserError(
            f"train.strategy: {runtime.strategy} shares out the weights, which was not tried with sft.lora; use ddp: "
            "each GPU holds the whole base, and the adapter's gradients and optimizer are small"
        )


def trained_parameters(base: Path, lora: LoraSettings) -> int:
    """How many parameters an adapter has on a base; no weight is read.

    Raises:
        UserError: the base has no linear layer of a name in ``targets``; says which names there are.
    """
    import torch
    from peft import get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(load(AutoConfig, base))
        _check_targets(model, lora.targets or (), base)
        adapted: Any = get_peft_model(model, _config(lora), low_cpu_mem_usage=True)
    return sum(weights.numel() for weights in adapted.parameters() if weights.requires_grad)


def _check_targets(model: Any, targets: tuple[str, ...], base: Path) -> None:
    import torch

    head = model.get_output_embeddings()
    linear = [name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear) and part is not head]
    unknown = [name for name in targets if not any(f".{one}".endswith(f".{name}") for one in linear)]
    if unknown:
        known = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in linear))
        lacking = f"{base} has no linear layer {', '.join(map(repr, unknown))}"
        raise UserError(f"sft.lora.targets: {lacking}; it has {known} (the output head takes none)")


def _config(lora: LoraSettings) -> Any:
    """peft's form of the settings."""
    from peft import LoraConfig

    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # peft divides it by r
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) if lora.targets else "all-linear",
        task_type="CAUSAL_LM",
    )


def adapter(settings: SftSettings) -> Any:
    """What trl is told of an adapter; None where all weights are trained. Its matrices are drawn from the recipe's
    seed, which this sets, as trl does not."""
    from transformers import set_seed

    if settings.lora is None:
        return None
    set_seed(settings.seed)
    return _config(settings.lora)


def base_dtype(settings: SftSettings) -> str:
    """The type that the weights of the base are held in while it trains."""
    return settings.lora.base_dtype if settings.lora else "float32"


def merge(trainer: Any) -> None:
    """Add an adapter to the weights of a trainer's model, which then has the base's layout; a model without one stays
    as it is. Each sum is rounded once, to the type of the base's weights."""
    from peft import PeftModel

    if isinstance(trainer.model, PeftModel):
        trainer.model = trainer.model.merge_and_unload()
