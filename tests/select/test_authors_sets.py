"""The authors' sets, made again by the package's own code from the pools' sizes and the order of m23K's domains: every
count that they printed or published, and the order in which domains ran empty."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from m1.core.records import Question, Sample
from m1.distill.draw import draw
from m1.select.domains import read_qualifiers
from m1.select.sample import choose

ROOT = Path(__file__).parents[2]
POOLS = {"medqa": "MedQA", "pubmedqa": "PubMedQA", "headqa": "HeadQA", "medmcqa": "MedMCQA"}
"""Key to column of the tables, in the order of the authors' collection."""
HUB = {
    "medqa": "GBaker/MedQA-USMLE-4-options",
    "pubmedqa": "qiaojin/PubMedQA:pqa_labeled",
    "headqa": "openlifescienceai/headqa",
    "medmcqa": "openlifescienceai/medmcqa",
}


def rows(path: str) -> list[dict[str, str]]:
    with open(ROOT / path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def table3(name: str) -> list[int]:
    """A row of Table 3, in the order of the collection."""
    (row,) = (row for row in rows("resources/paper/table3.csv") if row["Dataset"] == name)
    return [int(row[pool]) for pool in POOLS.values()]


def sample(place: int, pool: str, domain: str = "") -> Sample:
    return Sample(str(place), pool, domain, "", "", "", "subset", "rule", 42)


def by_pool(found: list[Sample] | list[Question]) -> list[int]:
    counts = Counter(one.source for one in found)
    return [counts[pool] for pool in POOLS]


@pytest.fixture(scope="module")
def m23k() -> list[Sample]:
    """As many samples as m23K has of each domain and pool, domain by domain in the order of their first appearance.

    Which of its samples a domain's pool lists first changes no count.
    """
    names = {code: name for code, (name, _) in read_qualifiers(ROOT / "resources/mesh/qualifiers.csv").items()}
    groups = [
        (pool, names[row["code"]])
        for row in rows("tests/data/m23k_domains_in_order.csv")
        for pool in row["order_of_sources"].split()
        for _ in range(int(row[HUB[pool]]))
    ]
    return [sample(place, pool, domain) for place, (pool, domain) in enumerate(groups)]


@pytest.mark.parametrize(("size", "expected"), [(1_000, [72, 2, 10, 1_166]), (23_493, [1_559, 66, 379, 27_362])])
def test_random_1k_and_23k_before_the_teacher(size: int, expected: list[int]) -> None:
    pools = dict(zip(POOLS, table3("Initial collection")))
    collection = [
        Question(f"{pool}-{number}", pool, "", None, (), "A")
        for pool, count in pools.items()
        for number in range(count)
    ]
    assert by_pool(draw(collection, size, 0.8, 42)) == expected


def test_hard_random_1k() -> None:
    sizes = dict(zip(POOLS, table3("+Decontamination & deduplication (m23K)")))
    samples = [sample(0, pool) for pool, size in sizes.items() for _ in range(size)]
    assert by_pool(choose(samples, "random", 1000, 42)) == [78, 3, 10, 909] == table3("Hard random 1K")


def test_hard_domain_1k(m23k: list[Sample]) -> None:
    expected = table3("Hard Domain Balanced 1K")
    assert by_pool(choose(m23k, "domain", 1000, 42)) == [52, 4, 20, 924] == expected


def test_m1k_is_table_4_whole_and_domains_run_empty_in_order(m23k: list[Sample]) -> None:
    m1k = choose(m23k, "domain_source", 1000, 42)
    assert by_pool(m1k) == [274, 28, 123, 575] == table3("Hard Domain Dataset Balanced 1K (m1K)")
    drawn = Counter((one.domain, one.source) for one in m1k)
    left = Counter((one.domain, one.source) for one in m23k)
    for row in rows("resources/paper/table4.csv"):
        for pool, column in POOLS.items():
            cell = row["Domain"], pool
            assert (left[cell], drawn[cell]) == (int(row[f"m23K {column}"]), int(row[f"m1K {column}"])), cell
    emptied = []
    for one in m1k:
        left[one.domain, one.source] -= 1
        if not left[one.domain, one.source]:
            emptied.append((one.source, one.domain))
    codes = {name: code for code, (name, _) in read_qualifiers(ROOT / "resources/mesh/qualifiers.csv").items()}
    expected = [(row["source"], row["code"]) for row in rows("tests/data/m1k_emptied_in_order.csv")]
    assert [(source, codes[domain]) for source, domain in emptied] == expected
    assert len(expected) == 89
