"""Fine-tune an adapter (LoRA) instead of all weights, so that one card suffices: a recipe's ``sft.lora``.

peft adds two small matrices to each linear layer and trains only these. At the end they are merged into the base, so
later steps see an ordinary model. The paper trains all weights.
"""

from pathlib import Path
from typing import Any

from m1.core.errors import UserError
from m1.core.pretrained import load
from m1.train.settings import LoraSettings, SftSettings, TrainRuntime


def check(settings: SftSettings, runtime: TrainRuntime) -> None:
    """Check, before anything is loaded, that an adapter can be trained with these settings.

    Raises:
        UserError: the strategy shards the weights (FSDP), or the base is in bfloat16 and the arithmetic in float32.
    """
    if settings.lora is None:
        return
    if settings.lora.base_dtype == "bfloat16" and not settings.bf16:
        raise UserError(
            "sft.lora.base_dtype: bfloat16 with sft.bf16 false, which is arithmetic in float32; set sft.bf16 to true, "
            "or base_dtype to float32"
        )
    if runtime.fsdp_options():
        raise UserError(
            f"train.strategy: {runtime.strategy} shares out the weights, which was not tried with sft.lora; use ddp: "
            "each GPU holds the whole base, and the adapter's gradients and optimizer are small"
        )


def trained_parameters(base: Path, lora: LoraSettings) -> int:
    """The number of parameters of an adapter on a base; no weights are read.

    Raises:
        UserError: the base has no linear layer with a name in ``targets``; the message lists the names it has.
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
    """The settings in peft's form."""
    from peft import LoraConfig

    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # peft divides it by r
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) if lora.targets else "all-linear",
        task_type="CAUSAL_LM",
    )


def adapter(settings: SftSettings) -> Any:
    """The adapter's configuration for trl; None if all weights are trained.

    The call also sets the random seed, from which the adapter's matrices are drawn, because trl does not.
    """
    from transformers import set_seed

    if settings.lora is None:
        return None
    set_seed(settings.seed)
    return _config(settings.lora)


def base_dtype(settings: SftSettings) -> str:
    """The type of the base's weights during training."""
    return settings.lora.base_dtype if settings.lora else "float32"


def merge(trainer: Any) -> None:
    """Merge the adapter of a trainer's model, if it has one, into the weights, which then have the base's layout.

    Each sum is rounded once, to the type of the base's weights.
    """
    from peft import PeftModel

    if isinstance(trainer.model, PeftModel):
        trainer.model = trainer.model.merge_and_unload()
