"""How the samples of a step are shared out, so that processes wait little for each other (B.2); without torch, for
``make plan``."""

from collections.abc import Sequence


def balance(lengths: Sequence[float], parts: int) -> list[list[int]]:
    """Samples, as places in ``lengths``, shared out to parts with like numbers of tokens; those with most come first.

    The longest sample left goes to the part with the fewest tokens, so a part has any number of samples, but one at
    least. Processes run parts that follow each other at the same time, and wait for the slowest: FSDP gathers weights
    layer by layer, and trl gathers counts after each micro-batch. So parts are in the order of their tokens.
    """
    shares: list[list[int]] = [[] for _ in range(parts)]
    tokens = [0.0] * parts
    for place in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        least = min(range(parts), key=tokens.__getitem__)
        shares[least].append(place)
        tokens[least] += lengths[place]
    return [shares[part] for part in sorted(range(parts), key=tokens.__getitem__, reverse=True)]
