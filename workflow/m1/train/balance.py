"""Share out the samples of a step so that processes wait little for each other (B.2).

The module does without torch, because ``make plan`` uses it, too.
"""

from collections.abc import Sequence


def balance(lengths: Sequence[float], parts: int) -> list[list[int]]:
    """Divide samples among parts with similar numbers of tokens.

    The longest remaining sample goes to the part with the fewest tokens, so a part has at least one sample. Processes
    run neighbouring parts at the same time and wait for the slowest, so the parts are sorted by their tokens.

    Args:
        lengths: tokens of each sample.
        parts: number of parts; at most that of the samples.

    Returns:
        For each part the positions of its samples in ``lengths``; the part with the most tokens comes first.
    """
    shares: list[list[int]] = [[] for _ in range(parts)]
    tokens = [0.0] * parts
    for place in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        least = min(range(parts), key=tokens.__getitem__)
        shares[least].append(place)
        tokens[least] += lengths[place]
    return [shares[part] for part in sorted(range(parts), key=tokens.__getitem__, reverse=True)]
