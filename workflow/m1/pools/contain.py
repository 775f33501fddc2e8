"""All pairs of texts that share a good part of their word n-grams: what the similarity of whole texts cannot see.

A question wrapped into a longer case, or a case shortened or reworded here and there, is far from its original by indel
similarity, yet keeps long runs of its words. docs/verified.md tells how the words of an n-gram and the share were
chosen on real questions.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

# An n-gram in more different ``others`` than this is a turn of phrase ("which of the following is the most likely cause
# of this patient's ...") and does not count. Only ``others`` are asked: among the texts, one may be frequent because a
# question has leaked in many forms.
COMMON = 10


def ngrams(text: str, words: int) -> set[str]:
    """The distinct word n-grams of a text, whatever its letter case, punctuation, white space and Unicode form.

    A text of fewer words is one n-gram by itself, so that short ones are held against each other as wholes; one without
    words has none.
    """
    found = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).casefold())
    firsts = range(max(len(found) - words, 0) + 1) if found else ()
    return {" ".join(found[first : first + words]) for first in firsts}


def pairs_by_containment(
    texts: Sequence[str], others: Sequence[str], words: int, share: float
) -> list[tuple[int, int, float]]:
    """All (i, j, part), sorted, where ``part`` is how much of one text's n-grams the other has, too: ``share`` (0 to 1)
    or more; with 0, all that share any.

    The text with fewer n-grams is the one asked, so that it is all one which of both is the wrapped one. N-grams that
    are common (:data:`COMMON`) are left out on both sides first. Exact: no hashing, no sampling. Memory is for the
    n-grams of ``others`` (of benchmarks) only.
    """
    holders: dict[str, list[int]] = {}
    for j, other in enumerate(others):
        for gram in ngrams(other, words):
            holders.setdefault(gram, []).append(j)
    common = {gram for gram, places in holders.items() if len({others[j] for j in places}) > COMMON}
    for gram in common:
        del holders[gram]
    sizes = Counter(j for places in holders.values() for j in places)
    pairs = []
    for i, text in enumerate(texts):
        grams = ngrams(text, words) - common
        shared = Counter(j for gram in grams if gram in holders for j in holders[gram])
        parts = ((j, count / min(len(grams), sizes[j])) for j, count in shared.items())
        pairs += sorted((i, j, part) for j, part in parts if part >= share)
    return pairs
