"""The sampler of select: rules, errors, and the paper's Tables 3 and 4 as a distribution."""

from __future__ import annotations

import csv
import json
import math
import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.core import records
from m1.core.errors import UserError
from m1.core.records import Domain, Question, Sample, Trace
from m1.select import sample

PAPER = Path(__file__).parents[2] / "resources" / "paper"
SOURCES = ("MedQA", "HeadQA", "MedMCQA", "PubMedQA")


def trace(identity: str, verdict: str = "correct") -> Trace:
    return Trace(identity, "teacher", f"thinking on {identity}", "\\boxed{a}", "stop", 1, 2, 1, 0.0, "key", verdict)


@pytest.fixture
def world(tmp_path: Path) -> dict[str, Path]:
    """Forty questions of two sources in two files, thirty correct traces in another order, domains."""
    questions = [Question(f"q{n:02}", "b" if n % 4 else "a", f"stem {n}", None, ("a", "b"), "A") for n in range(40)]
    traces = [trace(question.id, "correct" if n < 30 else "incorrect") for n, question in enumerate(questions)]
    random.Random(1).shuffle(traces)
    domains = [Domain(question.id, "01", f"domain {n % 3}") for n, question in enumerate(questions)]
    paths = {name: tmp_path / f"{name}.parquet" for name in ("first", "second", "traces", "domains", "out", "like")}
    records.write(paths["first"], questions[:20], Question)
    records.write(paths["second"], questions[20:], Question)
    records.write(paths["traces"], traces, Trace)
    records.write(paths["domains"], domains, Domain)
    return paths


def choose(world: dict[str, Path], rule: str, size: int | None, *more: str, domains: bool = True) -> list[Sample]:
    settings = json.dumps({"rule": rule, "size": size, "seed": 42})
    named = ["--domains", str(world["domains"])] if domains else []
    questions = [str(world["first"]), str(world["second"])]
    outputs = ["--output", str(world["out"]), "--manifest", str(world["out"].with_suffix(".json"))]
    inputs = ["--traces", str(world["traces"]), "--questions", *questions, *named]
    sample.main([*inputs, "--settings", settings, "--subset", "tiny", *outputs, *more])
    return records.read(world["out"], Sample)


def test_all_takes_every_right_trace_in_the_order_of_the_questions(
    world: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    chosen = choose(world, "all", None, domains=False)
    assert [row.id for row in chosen] == [f"q{n:02}" for n in range(30)]
    assert chosen[3] == Sample("q03", "b", "", "stem 3\nA. a\nB. b", "thinking on q03", "\\boxed{a}", "tiny", "all", 42)
    assert "30 correct traces in, 30 samples out" in capfd.readouterr().out
    counts = json.loads(world["out"].with_suffix(".json").read_text())["counts"]
    assert counts["sources"] == {"a": 8, "b": 22}
    assert counts["domains"] == {}


@pytest.mark.parametrize("rule", ["all", "random", "domain", "domain_source"])
def test_a_size_is_met_without_repetition_and_the_same_twice(world: dict[str, Path], rule: str) -> None:
    chosen = choose(world, rule, 12)
    content = world["out"].read_bytes()
    assert len({row.id for row in chosen}) == 12
    assert {row.domain for row in chosen} <= {"domain 0", "domain 1", "domain 2"}
    assert choose(world, rule, 12) == chosen
    assert world["out"].read_bytes() == content


def test_the_order_of_the_traces_decides_nothing(world: dict[str, Path]) -> None:
    before = choose(world, "domain_source", 12)
    records.write(world["traces"], sorted(records.read(world["traces"], Trace), key=lambda row: row.question_id), Trace)
    assert choose(world, "domain_source", 12) == before


@pytest.mark.parametrize("rule", ["random", "domain", "domain_source"])
def test_asking_for_more_than_there_is_names_both_numbers(world: dict[str, Path], rule: str) -> None:
    with pytest.raises(UserError, match=r"size is 31, but there are only 30 correct traces"):
        choose(world, rule, 31)
    assert not world["out"].exists()


def test_like_takes_as_many_as_another_subset_or_all(world: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    rows = [Sample(f"s{n}", "a", "", "p", "t", "a", "other", "all", 42) for n in range(31)]
    records.write(world["like"], rows[:7], Sample)
    assert len(choose(world, "all", None, "--like", str(world["like"]), domains=False)) == 7
    assert "fewer than" not in capfd.readouterr().out
    records.write(world["like"], rows, Sample)
    assert len(choose(world, "random", None, "--like", str(world["like"]), domains=False)) == 30
    assert "fewer than the 31" in capfd.readouterr().out
    with pytest.raises(UserError, match="set size to null"):
        choose(world, "random", 3, "--like", str(world["like"]))


def test_what_is_missing_is_said(world: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="rule domain needs --domains"):
        choose(world, "domain", 3, domains=False)
    with pytest.raises(UserError, match="rule random needs a number"):
        choose(world, "random", None)
    with pytest.raises(UserError, match='rule is "best"; it must be one of all, random'):
        choose(world, "best", 3)
    records.write(world["domains"], records.read(world["domains"], Domain)[2:], Domain)
    with pytest.raises(UserError, match=r"2 of 30 correct traces have no domain \(the first: question q00\)"):
        choose(world, "domain", 3)
    records.write(world["second"], records.read(world["second"], Question)[1:], Question)
    with pytest.raises(UserError, match=r"1 correct traces have no question there \(the first: q20\)"):
        choose(world, "all", None)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab")), min_size=1, max_size=40),
    st.integers(0, 2**32),
    st.data(),
)
def test_balanced_draws_are_a_sample_without_replacement(
    groups: list[tuple[int, str]], seed: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(0, len(groups)))
    items = list(range(len(groups)))
    drawn = sample.draw_balanced(items, groups, size, seed)
    assert len(drawn) == len(set(drawn)) == size
    assert sorted(sample.draw_balanced(items, groups, len(items), seed)) == items
    assert sample.draw_balanced(items, groups, len(items), seed)[:size] == drawn


def test_the_first_draw_is_uniform_over_domains_then_sources() -> None:
    groups = [("x", "a")] * 98 + [("x", "b")] + [("y", "a")]
    first = Counter(groups[sample.draw_balanced(range(100), groups, 1, seed)[0]] for seed in range(4000))
    assert first[("y", "a")] == pytest.approx(2000, abs=4 * math.sqrt(1000))
    assert first[("x", "a")] == pytest.approx(1000, abs=4 * math.sqrt(750))
    only_domains = Counter(
        groups[sample.draw_balanced(range(100), [(d,) for d, _ in groups], 1, seed)[0]] for seed in range(4000)
    )
    assert only_domains[("x", "b")] == pytest.approx(2000 / 99, abs=4 * math.sqrt(20))


def simulate(table: dict[str, dict[str, int]], size: int, rng: random.Random) -> Counter[str]:
    """The sampling of 3.1 on counts alone, written without the package: a domain, a data set in it, one sample fewer
    there."""
    left = {domain: dict(cells) for domain, cells in table.items()}
    taken: Counter[str] = Counter()
    while taken.total() < size:
        domain = rng.choice([name for name, cells in left.items() if any(cells.values())])
        source = rng.choice([name for name, number in left[domain].items() if number])
        left[domain][source] -= 1
        taken[source] += 1
    return taken


def test_two_hundred_draws_of_m1k_agree_with_a_simulation_and_cover_the_published_counts() -> None:
    with open(PAPER / "table4.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    table = {row["Domain"]: {source: int(row[f"m23K {source}"]) for source in SOURCES} for row in rows}
    published = {source: sum(int(row[f"m1K {source}"]) for row in rows) for source in SOURCES}
    groups = [
        (domain, source) for domain, cells in table.items() for source, number in cells.items() for _ in range(number)
    ]
    size = sum(published.values())
    assert (len(table), size) == (76, 1000)

    draws: dict[str, list[int]] = defaultdict(list)
    expected: dict[str, list[int]] = defaultdict(list)
    rng = random.Random(7)
    for seed in range(200):
        drawn = Counter(source for _, source in sample.draw_balanced(groups, groups, size, seed))
        simulated = simulate(table, size, rng)
        for source in SOURCES:
            draws[source].append(drawn[source])
            expected[source].append(simulated[source])
    for source in SOURCES:
        mean, simulated_mean = sum(draws[source]) / 200, sum(expected[source]) / 200
        spread = [sum((x - sum(xs) / 200) ** 2 for x in xs) / 199 for xs in (draws[source], expected[source])]
        assert abs(mean - simulated_mean) <= 2 * math.sqrt(sum(spread) / 200) + 1e-9, source
        assert min(draws[source]) <= published[source] <= max(draws[source]), (
            source,
            min(draws[source]),
            max(draws[source]),
        )
