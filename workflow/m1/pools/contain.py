"""Find all pairs of texts that share a good part of their word n-grams, which the similarity of whole texts cannot see.

A question wrapped into a longer case, or a case shortened or reworded here and there, is far from its original by indel
similarity, yet keeps long runs of its words. docs/verified.md tells how the words of an n-gram and the share were
chosen on real questions.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

# An n-gram in more distinct ``others`` than this is a set phrase ("which of the following is the most likely cause of
# this patient's ...") and does not count. Only ``others`` are counted: among the texts, an n-gram may be frequent
# because a question has leaked in many forms.
COMMON = 10


def ngrams(text: str, words: int) -> set[str]:
    """The distinct word n-grams of a text, without regard to letter case, punctuation, white space and Unicode form.

    A text of fewer words is one n-gram, so short texts are compared as wholes; a text without words has none.
    """
    found = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).casefold())
    firsts = range(max(len(found) - words, 0) + 1) if found else ()
    return {" ".join(found[first : first + words]) for first in firsts}


def pairs_by_containment(
    texts: Sequence[str], others: Sequence[str], words: int, share: float
) -> list[tuple[int, int, float]]:
    """Find all pairs of a text (of a pool) and another (of a benchmark) that share at least a ``share`` (0 to 1) of
    their n-grams of ``words`` words; with 0, all pairs with a common n-gram.

    The share is taken of the text with fewer n-grams, so either of the two may be wrapped into the other. Common
    n-grams (:data:`COMMON`) are left out on both sides first. The result is exact, without hashing or sampling. Memory
    holds only the n-grams of ``others``.

    Returns:
        Triples (i, j, part), sorted: positions in ``texts`` and ``others``, and the shared part.
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
