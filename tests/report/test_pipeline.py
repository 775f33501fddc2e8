"""Figure 2: the rule graph is drawn whole, in order, without a text that meets another or an arrow."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from m1.core import style
from m1.core.errors import UserError
from m1.report.pipeline import (
    ASKED,
    BACK,
    LANE,
    STAGES,
    TOLD,
    TOLD_WIDTHS,
    arrange,
    draw,
    labels,
    main,
    order_arrows,
    parse,
    rows,
)
from m1.report.settings import RuleManifests
from shown import save_shown

DOT = """digraph snakemake_dag {
    graph[bgcolor=white, margin=0];
    node[shape=box, style=rounded, fontname=sans,                 fontsize=10, penwidth=2];
	0[label = "all", color = "0.00 0.6 0.85", style="rounded"];
	1[label = "report_table1", color = "0.33 0.6 0.85", style="rounded"];
	2[label = "select_sample", color = "0.53 0.6 0.85", style="rounded"];
	3[label = "pools_merge", color = "0.22 0.6 0.85", style="rounded"];
	4[label = "pools_collect", color = "0.18 0.6 0.85", style="rounded"];
	12[label = "distill_draw", color = "0.04 0.6 0.85", style="rounded"];
	13[label = "distill_traces", color = "0.04 0.6 0.85", style="rounded"];
	1 -> 0
	2 -> 1
	2 -> 2
	2 -> 12
	3 -> 2
	3 -> 12
	4 -> 3
	4 -> 1
	12 -> 13
	13 -> 2
}
"""
RULES = [
    *(
        "world_build",
        "world_tokenizer",
        "pools_collect",
        "pools_collect_benchmark",
        "pools_merge",
        "pools_audit",
        "screen_attempt",
        "screen_hard",
    ),
    *(
        "distill_draw",
        "distill_traces",
        "select_domains",
        "select_sample",
        "train_sft",
        "infer_sweep",
        "infer_answer",
        "score_predictions",
    ),
    *("report_table1", "report_figure2"),
]
graphs = st.lists(
    st.tuples(st.sampled_from(RULES), st.sampled_from(RULES)).filter(lambda edge: edge[0] != edge[1]),
    max_size=45,
    unique=True,
)


def reached(edges: Any, start: str) -> set[str]:
    found: set[str] = set()
    while more := {b for a, b in edges if a in found | {start}} - found:
        found |= more
    return found


def test_rules_and_edges_are_read_without_targets_and_loops() -> None:
    rules, edges = parse(DOT)
    assert rules == ["pools_collect", "pools_merge", "distill_draw", "distill_traces", "select_sample", "report_table1"]
    assert len(edges) == 8
    onward, back = order_arrows(edges)
    assert back == [("select_sample", "distill_draw")]
    assert set(onward) == {
        ("pools_collect", "pools_merge"),
        ("pools_merge", "distill_draw"),
        ("distill_draw", "distill_traces"),
        ("distill_traces", "select_sample"),
        ("select_sample", "report_table1"),
    }
    assert rows(rules, onward)["distill_traces"] == 3


def test_something_else_than_a_rule_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "graph.dot").write_text('digraph { 0[label = "all"]; }')
    shown = ["--shown", str(save_shown(tmp_path))]
    with pytest.raises(UserError, match="no rule of a stage"):
        main([*shown, "--graph", str(tmp_path / "graph.dot"), "--output", str(tmp_path / "a.pdf")])
    with pytest.raises(UserError, match="cannot be read"):
        main([*shown, "--graph", str(tmp_path / "none.dot"), "--output", str(tmp_path / "a.pdf")])


@settings(max_examples=150)
@given(graphs)
def test_what_is_left_out_is_what_a_chain_implies(edges: list[tuple[str, str]]) -> None:
    onward, back = order_arrows(edges)
    accepted = set(edges) - set(back)
    for rule in RULES:
        assert reached(onward, rule) == reached(accepted, rule), "the same rules are reached"
        assert rule not in reached(onward, rule), "no cycle"
    assert ASKED & accepted <= set(onward), "the questions that models answer are always shown"
    for edge in set(onward) - ASKED:
        assert edge[1] not in reached([other for other in onward if other != edge], edge[0]), (
            "none is implied by the others"
        )
    order = rows(RULES, onward)
    assert all(order[a] < order[b] for a, b in onward)


@settings(max_examples=20)
@given(graphs)
def test_boxes_and_passing_arrows_keep_apart(edges: list[tuple[str, str]]) -> None:
    told = {rule: ["196,157 questions", "and more"] for rule in RULES}
    grid, arrows = arrange(RULES, *order_arrows(edges), told, TOLD_WIDTHS[0])
    assert sorted(node.rule for row in grid for node in row if node.rule) == sorted(RULES)
    for row in grid:
        for left, right in itertools.pairwise(row):
            assert left.x + left.width / 2 < right.x - right.width / 2
    for chain, _ in arrows:
        assert [node.row for node in chain] == list(range(chain[0].row, chain[-1].row + 1)), (
            "an arrow passes every row between"
        )
        assert all(not node.rule and node.width == LANE for node in chain[1:-1])


def test_benchmarks_lead_to_the_sweep_and_dashes_are_explained() -> None:
    chain = ["pools_collect_benchmark", "pools_merge", "select_sample", "train_sft", "infer_sweep"]
    edges = [*itertools.pairwise(chain), ("pools_collect_benchmark", "infer_sweep"), ("pools_merge", "train_sft")]
    onward, back = order_arrows(edges)
    assert set(onward) == {*itertools.pairwise(chain), ("pools_collect_benchmark", "infer_sweep")}
    assert not back
    with style.plt.rc_context(style.PLACED):
        for more, legends in ([], 0), ([("select_sample", "pools_merge")], 1):
            figure = draw(chain, [*edges, *more], {}, "")
            assert [text.get_text() for text in figure.axes[0].texts].count(BACK) == legends
            assert len(figure.axes[0].lines) == legends
            style.plt.close(figure)


def save_manifests(folder: Path, counts: dict[str, dict[str, Any]]) -> list[tuple[str, Path]]:
    """Write manifests with these counts, by ``rule=file``; the rule and path of each."""
    found = []
    for place, numbers in counts.items():
        rule, _, name = place.partition("=")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"counts": numbers}))
        found.append((rule, path))
    return found


PAPER = {
    "pools_collect=pools/medqa.json": {"questions": 10_178},
    "pools_collect=pools/headqa.json": {"questions": 2_657},
    "pools_collect=pools/medmcqa.json": {"questions": 182_822},
    "pools_collect=pools/pubmedqa.json": {"questions": 500},
    "pools_merge=pools/merged.json": {"merged": 192_023},
    "distill_traces=distill/hard.json": {"verdicts": {"correct": 23_504, "incorrect": 1}},
    "select_sample=select/m1k.json": {"samples": 1_000},
    "select_sample=select/m23k.json": {"samples": 23_493},
}


def test_counts_are_those_of_the_manifests(tmp_path: Path) -> None:
    assert labels(save_manifests(tmp_path, PAPER)) == {
        "pools_collect": ["4 pools", "196,157 questions"],
        "pools_merge": ["192,023 questions"],
        "distill_traces": ["23,504 correct traces"],
        "select_sample": ["m23k 23,493", "m1k 1,000 samples"],
    }
    one = save_manifests(tmp_path, {"train_sft=train/m1-7b-1k/manifest.json": {"samples": 1000, "tokens": 1_234_567}})
    assert labels(one)["train_sft"] == ["1 model", "1,000 samples", "1,234,567 tokens an epoch"]
    assert labels([("train_sft", tmp_path / "train/m1-7b-1k")]) == labels(
        [("train_sft", tmp_path / "train/m1-7b-1k/manifest.json")]
    )


def test_a_manifest_without_the_count_is_named(tmp_path: Path) -> None:
    save_manifests(tmp_path, {"pools_merge=pools/merged.json": {"other": 1}})
    with pytest.raises(UserError, match=r"pools_merge: no count 'merged' in one of merged"):
        labels([("pools_merge", tmp_path / "pools/merged.json")])
    with pytest.raises(UserError, match="nothing is told of this rule"):
        labels([("report_table1", tmp_path / "pools/merged.json")])


def test_every_rule_that_is_told_of_belongs_to_a_stage() -> None:
    assert {rule.split("_")[0] for rule in TOLD} <= set(STAGES)


@pytest.mark.parametrize("note", ["", "Embedded world: validates the pipeline, says nothing about medicine."])
def test_no_text_meets_another_or_leaves_the_figure(note: str) -> None:
    rules, edges = parse(DOT)
    edges = [*edges, *((a, b) for a, b in itertools.pairwise(RULES))]
    reports = [f"report_{name}_of_something" for name in "abcdefghijkl"]
    told = {rule: [f"name_{i} 196,157" for i in range(6)] for rule in RULES if not rule.startswith("report")}
    with style.plt.rc_context(style.PLACED):
        figure = draw([*dict.fromkeys([*RULES, *rules]), *reports], edges, told, note)
        figure.canvas.draw()
        texts = [text for text in [*figure.texts, *figure.axes[0].texts] if text.get_text()]
        boxes = [text.get_window_extent() for text in texts]
        assert min(text.get_fontsize() for text in texts) >= 6
        whole = figure.bbox
        for box, text in zip(boxes, texts, strict=True):
            assert whole.x0 <= box.x0 <= box.x1 <= whole.x1, text
            assert whole.y0 <= box.y0 <= box.y1 <= whole.y1, text
        for (one, a), (other, b) in itertools.combinations(zip(texts, boxes, strict=True), 2):
            apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 + 2 or b.y1 <= a.y0 + 2
            assert apart, f"{one.get_text()} meets {other.get_text()}"
        style.plt.close(figure)


def test_the_figure_is_the_same_bytes_with_fonts_embedded(tmp_path: Path) -> None:
    (tmp_path / "graph.dot").write_text(DOT)
    save_manifests(tmp_path, PAPER)
    manifests = tuple(RuleManifests(rule, (file,)) for rule, file in (place.split("=") for place in PAPER))
    shown = save_shown(tmp_path, manifests=manifests, note="n")
    made = []
    for name in ("one", "two"):
        files = [str(tmp_path / f"{name}.{kind}") for kind in ("pdf", "png")]
        main(["--shown", str(shown), "--graph", str(tmp_path / "graph.dot"), "--output", *files])
        made.append([Path(file).read_bytes() for file in files])
    assert made[0] == made[1]
    assert b"/FontFile2" in made[0][0]
    assert np.frombuffer(made[0][1][16:20], ">u4")[0] == style.WIDTH * style.RC["savefig.dpi"], "as wide as a column"
