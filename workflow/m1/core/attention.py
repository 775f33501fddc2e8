"""The backends by which PyTorch computes attention."""

import torch


def avoid_cudnn() -> None:
    """Keep ``scaled_dot_product_attention`` from choosing cuDNN, which PyTorch prefers on an H100.

    cuDNN makes a plan for each new shape, on the CPU. Here nearly every micro-batch and every step of generating has a
    shape of its own: on an H100, training was about five times slower with cuDNN (``benchmarks/README.md``, One card).
    """
    torch.backends.cuda.enable_cudnn_sdp(False)
