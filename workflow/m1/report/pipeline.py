"""Figure 2: the pipeline as the workflow's own rule graph, with what the manifests counted on its arrows.

The graph is what ``snakemake --rulegraph dot`` prints. A row of boxes is one step, and the bands are the stages in the
paper's order. An arrow that a chain of others implies is left out. A dashed arrow leads back to an earlier stage: the
difficulty filter runs the base models that training fetches, and the size of a subset decides how many questions are
drawn.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import accumulate, combinations, pairwise, repeat
from operator import getitem
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path as Curve
from scipy.optimize import isotonic_regression

from m1.core import style
from m1.core.errors import UserError, run
from m1.core.files import read_json
from m1.core.progress import say
from m1.report.files import FIGURE, find_manifest, parser
from m1.report.paragraphs import printable, text_width, wrap
from m1.report.settings import Shown

Edge = tuple[str, str]
Counts = Mapping[str, Mapping[str, Any]]  # name of an artifact (`m1k`) to the `counts` of its manifest

STAGES = {
    **{"world": "embedded", "pools": "3.1, B.1", "screen": "3.1", "distill": "3.1, B.1", "select": "3.1"},
    **{"train": "3.2, B.2", "infer": "3.3, B.3", "score": "B.3", "report": "4, A"},
}
"""Stage, the first word of its rules' names, to the paper's sections."""


CHECKS = {"infer_context"}
"""Rules that make no result but stop a run before it spends anything; the figure leaves them out."""
ASKED = {("pools_collect_benchmark", "infer_sweep"), ("pools_collect_benchmark", "infer_answer")}
"""Arrows that are always drawn: the questions that the models answer. A chain through decontamination and training
implies them, but carries other questions."""


def parse(dot: str) -> tuple[list[str], list[Edge]]:
    """Rules and edges of a rule graph in dot, without rules of no stage (targets such as ``all``) and :data:`CHECKS`; a
    :class:`UserError` if nothing is left."""
    found = re.findall(r'^\s*(\d+)\s*\[label = "([^"]+)"', dot, re.MULTILINE)
    names = {number: name for number, name in found if _stage(name) in STAGES and name not in CHECKS}
    if not names:
        raise UserError("--graph: no rule of a stage in it. It must be what `snakemake --rulegraph dot` prints.")
    arrows = re.findall(r"(\d+) -> (\d+)", dot)
    edges = {(names[a], names[b]) for a, b in arrows if a in names and b in names and a != b}
    return sorted(names.values(), key=_order), sorted(edges, key=lambda edge: tuple(map(_order, edge)))


def _stage(rule: str) -> str:
    return rule.split("_")[0]


def _order(rule: str) -> tuple[int, str]:
    return list(STAGES).index(_stage(rule)), rule


def order_arrows(edges: Iterable[Edge]) -> tuple[list[Edge], list[Edge]]:
    """Edges that lead onward, and edges that lead back (a rule can feed an earlier one). Onward edges that a chain of
    others implies are left out, except for :data:`ASKED`."""
    onward: list[Edge] = []
    back: list[Edge] = []

    def leads_back(edge: Edge) -> bool:
        return _order(edge[1])[0] < _order(edge[0])[0]

    for edge in sorted(edges, key=lambda edge: (leads_back(edge), *map(_order, edge))):
        (back if leads_back(edge) or _reaches(onward, edge[1], edge[0]) else onward).append(edge)
    implied = {edge for edge in onward if _reaches([other for other in onward if other != edge], *edge)} - ASKED
    return [edge for edge in onward if edge not in implied], back


def _reaches(edges: Sequence[Edge], start: str, end: str) -> bool:
    """Whether a chain of edges leads from one rule to another."""
    seen: set[str] = set()
    while more := {b for a, b in edges if a in seen | {start}} - seen:
        seen |= more
    return end in seen


def rows(rules: Iterable[str], onward: Iterable[Edge]) -> dict[str, int]:
    """Row of each rule, counted from the top. Stage follows stage; a stage has as many rows as its longest chain."""
    depth = dict.fromkeys(rules, 0)
    inside = [(a, b) for a, b in onward if _stage(a) == _stage(b)]
    for _ in depth:  # enough rounds, because a chain has fewer links than there are rules
        for a, b in inside:
            depth[b] = max(depth[b], depth[a] + 1)
    used = sorted({(_order(rule)[0], deep) for rule, deep in depth.items()})
    return {rule: used.index((_order(rule)[0], deep)) for rule, deep in depth.items()}


TOLD: dict[str, tuple[str, dict[str, str]]] = {
    "world_pretrain": ("", {"parameters": "parameters"}),
    "pools_collect": ("pools", {"questions": "questions"}),
    "pools_collect_benchmark": ("benchmarks", {"questions": "questions"}),
    "pools_merge": ("", {"merged": "questions"}),
    "pools_leaks": ("", {"leaks": "in the evaluation"}),
    "screen_attempt": ("", {"correct": "solved"}),
    "screen_ask": ("", {"correct": "solved"}),
    "screen_hard": ("", {"hard": "hard questions"}),
    "distill_traces": ("", {"verdicts/correct": "correct traces"}),
    "select_domains": ("", {"labelled": "labels"}),
    "select_sample": ("", {"samples": "samples"}),
    "select_published": ("", {"samples": "samples"}),
    "train_sft": ("models", {"samples": "samples", "tokens": "tokens an epoch"}),
    "infer_sweep": ("models", {"predictions": "answers", "rollout_tokens": "tokens of thinking"}),
    "infer_answer": ("models", {"questions": "answers"}),
    "infer_published": ("models", {"predictions": "answers"}),
    "score_predictions": ("models", {"predictions": "scores", "correct": "correct"}),
}
"""What is told below a rule: what its artifacts are if they are counted together, else empty; and counts in their
manifests, with units."""


def describe(counts: Counts, many: str, units: Mapping[str, str]) -> list[str]:
    """The number of artifacts and the sums of their counts. If ``many`` is empty, the one count of each artifact, the
    largest first, with their names where there are several."""
    if many:
        sums = [f"{sum(_count(value, key) for value in counts.values()):,} {unit}" for key, unit in units.items()]
        return [f"{len(counts)} {many if len(counts) > 1 else many.removesuffix('s')}", *sums]
    [(key, unit)] = units.items()
    found = sorted((-_count(value, key), name) for name, value in counts.items())
    *others, last = [f"{name} {-value:,}" if len(found) > 1 else f"{-value:,}" for value, name in found]
    return [*others, f"{last} {unit}"]


def _count(counts: Any, key: str) -> int:
    return int(reduce(getitem, key.split("/"), counts))


def labels(manifests: Iterable[tuple[str, Path]]) -> dict[str, list[str]]:
    """The parts of the text below each rule, from pairs of a rule and a manifest (a file, or a folder with
    ``manifest.json``; its name is the artifact's).

    Raises:
        UserError: a rule is not in :data:`TOLD`, or a manifest lacks the count that it needs.
    """
    found: dict[str, dict[str, Any]] = {}
    for rule, path in manifests:
        if rule not in TOLD:
            raise UserError(f"manifest {path} of {rule}: nothing is told of this rule; of {', '.join(TOLD)} there is")
        file, artifact = find_manifest(path)
        found.setdefault(rule, {})[artifact.name] = read_json(file).get("counts", {})
    result = {}
    for rule, counts in found.items():
        try:
            result[rule] = describe(counts, *TOLD[rule])
        except (KeyError, TypeError, ValueError) as error:
            lacking = f"no count {error} in one of {', '.join(counts)}"
            raise UserError(f"manifests of {rule}: {lacking}. Delete it to have it made again.") from None
    return result


@dataclass(eq=False)
class Node:
    """A box with the lines below it, or the place where a long arrow passes a row (then ``rule`` is empty)."""

    row: int
    width: float
    rule: str = ""
    lines: list[str] = field(default_factory=list)
    x: float = 0.0

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2


HEADING, BOX, LINE, GAP, LANE, APART = 0.48, 0.18, 0.11, 0.19, 0.04, 0.07
"""Inches: width of the headings; height of a box; height of a line below it; between rows; width of a passing arrow;
between boxes."""
TOLD_WIDTHS = (1.3, 1.0, 0.7)
"""Inches that a line below a box may take: the first with which the figure is as wide as a column, else the last."""
FONT, SMALL = 6.5, 6.0
BACK = "leads back to an earlier stage"  # in the legend
ARROW, DASHED = "0.35", (0, (3, 2))
ROOM = style.WIDTH - HEADING - 0.15
"""Inches that the nodes of a row may take, so that the figure is as wide as a column of the paper."""
STARTS, TURNS, STIFF, WIDER = 24, 40, 30, 20
"""Random orders to begin with, of which the tidiest result is taken. Rounds of arranging. How much more easily a box
moves than an arrow that passes it. How untidy each inch beyond the width of a column is, if crossings of arrows and
inches that they lead aside count as 1."""


def arrange(
    rules: Sequence[str],
    onward: Sequence[Edge],
    back: Sequence[Edge],
    told: Mapping[str, Sequence[str]],
    told_width: float,
) -> tuple[list[list[Node]], list[tuple[list[Node], bool]]]:
    """Place boxes and arrows.

    Args:
        told: the lines below a box, in parts that one line may join.
        told_width: inches of a line, at most; only the report's may be as wide as its row.

    Returns:
        Rows of nodes, from left to right; and each arrow as the nodes that it goes through, from top to bottom, with
        whether it leads back (up).
    """
    where = rows(rules, onward)
    nodes = {}
    grid: list[list[Node]] = [[] for _ in range(max(where.values()) + 1)]
    for rule in rules:
        lines = _join(told.get(rule, []), ROOM - 0.04 if rule == "report" else told_width)
        width = max([_title_width(rule), *(text_width(line) * SMALL / 72 + 0.04 for line in lines)])
        nodes[rule] = Node(where[rule], width, rule, lines)
        grid[where[rule]].append(nodes[rule])
    arrows = []
    for edge, leads_back in [*zip(onward, repeat(False)), *zip(back, repeat(True))]:
        upper, lower = sorted((nodes[rule] for rule in edge), key=lambda node: node.row)
        if upper.row == lower.row:
            continue  # two rules that feed each other stand in one row, where no arrow fits between them
        passing = [Node(row, LANE) for row in range(upper.row + 1, lower.row)]
        for node in passing:
            grid[node.row].append(node)
        arrows.append(([upper, *passing, lower], leads_back))
    chains, orders = [chain for chain, _ in arrows], [tuple(row) for row in grid]

    def untidiness(start: int) -> tuple[float, int]:
        for row, order in zip(grid, orders):
            row[:] = random.Random(start).sample(order, len(order))
            _spread(row, [place - len(row) / 2 for place in range(len(row))])
        _move(grid, chains)
        left, right = _ends(grid)
        links = [link for chain in chains for link in pairwise(chain)]
        aside = sum(abs(a.x - b.x) for a, b in links)
        crossings = sum(a.row == c.row and (a.x - c.x) * (b.x - d.x) < 0 for (a, b), (c, d) in combinations(links, 2))
        return round(aside + crossings + WIDER * max(0.0, right - left - ROOM), 6), start

    untidiness(min(map(untidiness, range(STARTS)))[1])  # arrange it once more as the tidiest was
    return grid, arrows


def _ends(grid: Sequence[Sequence[Node]]) -> tuple[float, float]:
    """The left and right ends of all nodes, in inches."""
    return min(row[0].left for row in grid), max(row[-1].right for row in grid)


def _move(grid: Sequence[list[Node]], chains: Sequence[Sequence[Node]]) -> None:
    """Sort and place the nodes of each row in turn, by the mean place of those that arrows join them to.

    The second half of the rounds keeps the order, and straightens the arrows that pass several rows.
    """
    near: dict[Node, list[Node]] = defaultdict(list)
    for chain in chains:
        for upper, lower in pairwise(chain):
            near[upper].append(lower)
            near[lower].append(upper)
    near |= {node: list(chain) for chain in chains for node in chain[1:-1]}
    straight = near | {node: list(chain[1:-1]) for chain in chains for node in chain[1:-1]}
    for turn in range(TURNS):
        settled = turn >= TURNS // 2
        for row in grid if turn % 2 == 0 else grid[::-1]:
            drawn_to = straight if settled else near
            wanted = {node: fmean(other.x for other in drawn_to.get(node, [node])) for node in row}
            if not settled:
                row.sort(key=wanted.__getitem__)
            _spread(row, [wanted[node] for node in row])


def _spread(row: Sequence[Node], wanted: Sequence[float]) -> None:
    """Put nodes, in their order, as near to the wanted places as widths and :data:`ROOM` allow (least squares)."""
    reach = np.maximum(0, [ROOM - node.width for node in row]) / 2
    # Less the room that the nodes before it need, each place is at least the one before it.
    needed = np.cumsum([0.0, *((one.width + other.width) / 2 + APART for one, other in pairwise(row))])
    weights = [1 if node.rule else STIFF for node in row]
    for node, x in zip(row, isotonic_regression(np.clip(wanted, -reach, reach) - needed, weights=weights).x + needed):
        node.x = float(x)
    if row[-1].right - row[0].left < ROOM:  # else the row is wider than a column anyway
        aside = max(0.0, -ROOM / 2 - row[0].left) - max(0.0, row[-1].right - ROOM / 2)
        for node in row:
            node.x += aside


def _title(rule: str) -> str:
    """The name of a rule without its stage, which the heading of the band has."""
    return rule.partition("_")[2].replace("_", " ") or rule


def _title_width(rule: str) -> float:
    """Inches of a rule's box."""
    return text_width(_title(rule)) * FONT / 72 + 0.12


def _join(names: Iterable[str], width: float) -> list[str]:
    """Names joined to lines of at most a width, in inches."""
    lines: list[str] = []
    for name in names:
        if lines and text_width(joined := f"{lines[-1]} · {name}") * SMALL / 72 <= width:
            lines[-1] = joined
        else:
            lines.append(name)
    return lines


def draw(rules: Sequence[str], edges: Sequence[Edge], told: Mapping[str, Sequence[str]], note: str) -> Figure:
    """Figure 2, from :func:`parse` and :func:`labels`, with a note at the foot. Made within
    ``plt.rc_context(style.PLACED)``. The rules of the report share one box, because they are many."""
    reports = [_title(rule) for rule in rules if _stage(rule) == "report"]
    rules = [rule for rule in rules if _stage(rule) != "report"] + (["report"] if reports else [])
    merged = {tuple("report" if _stage(rule) == "report" else rule for rule in edge) for edge in edges}
    onward, back = order_arrows((a, b) for a, b in merged if a != b)
    for told_width in TOLD_WIDTHS:
        grid, arrows = arrange(rules, onward, back, {**told, "report": reports}, told_width)
        left, right = _ends(grid)
        if right - left < ROOM + LANE:
            break
    width = max(style.WIDTH, right - left + style.WIDTH - ROOM)
    middle = (HEADING + width) / 2 - (left + right) / 2
    for node in (node for row in grid for node in row):
        node.x += middle
    heights = [BOX + LINE * max(len(node.lines) for node in row) for row in grid]
    tops = [0.08 + GAP / 2 + before for before in accumulate((height + GAP for height in heights[:-1]), initial=0.0)]
    bottoms = [top + height for top, height in zip(tops, heights)]
    notes = wrap(printable(note), (width - 0.1) * 72 / SMALL) if note else []
    foot = bottoms[-1] + GAP / 2
    height = foot + (0.16 if back else 0) + LINE * len(notes) + 0.08
    figure = style.plt.figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    _draw_bands(axes, grid, tops, bottoms, width)
    for chain, leads_back in arrows:
        _draw_arrow(axes, chain, tops, bottoms, leads_back)
    for top, row in zip(tops, grid):
        for node in row:
            if node.rule:
                _draw_node(axes, node, top)
    if back:
        axes.plot([HEADING, HEADING + 0.3], [foot + 0.1] * 2, color=ARROW, linewidth=0.7, linestyle=DASHED)
        axes.text(HEADING + 0.36, foot + 0.1, BACK, fontsize=SMALL, va="center_baseline")
    text = axes.text(width / 2, height - 0.04, "\n".join(notes), fontsize=SMALL, color=style.MUTED)
    text.set(ha="center", va="bottom", parse_math=False)
    return figure


def _draw_bands(
    axes: Axes, grid: Sequence[Sequence[Node]], tops: Sequence[float], bottoms: Sequence[float], width: float
) -> None:
    """A band behind the rows of each stage, with the stage's heading."""
    stages = [_stage(next(node.rule for node in row if node.rule)) for row in grid]
    for band, stage in enumerate(dict.fromkeys(stages)):
        inside = [number for number, other in enumerate(stages) if other == stage]
        top, bottom = tops[inside[0]] - GAP / 2, bottoms[inside[-1]] + GAP / 2
        shade = "0.955" if band % 2 == 0 else "white"
        axes.add_patch(Rectangle((0.03, top), width - 0.06, bottom - top, facecolor=shade, linewidth=0))
        axes.text(0.06, (top + bottom) / 2, stage, fontsize=FONT, fontweight="bold", va="bottom")
        axes.text(0.06, (top + bottom) / 2 + 0.02, STAGES[stage], fontsize=SMALL, color=style.MUTED, va="top")


def _draw_node(axes: Axes, node: Node, top: float) -> None:
    width = _title_width(node.rule)
    box = FancyBboxPatch((node.x - width / 2, top), width, BOX, boxstyle="round,pad=0,rounding_size=0.05", zorder=3)
    box.set(facecolor="white", edgecolor="0.25", linewidth=0.7)
    axes.add_patch(box)
    look: dict[str, Any] = {"ha": "center", "zorder": 4, "parse_math": False}
    axes.text(node.x, top + BOX / 2, _title(node.rule), fontsize=FONT, va="center_baseline", **look)
    for number, line in enumerate(node.lines):
        y = top + BOX + LINE * (number + 0.56)
        axes.text(node.x, y, line, fontsize=SMALL, color=style.COLOURS[0], va="center", **look)


def _draw_arrow(
    axes: Axes, chain: Sequence[Node], tops: Sequence[float], bottoms: Sequence[float], leads_back: bool
) -> None:
    """A curve between rows that runs straight past a row, so that it meets no text. It starts below the lines of the
    upper box."""
    start, *others = chain
    points = [(start.x, tops[start.row] + BOX + LINE * len(start.lines) + 0.02), (start.x, bottoms[start.row])]
    codes = [Curve.MOVETO, Curve.LINETO]
    for node in others:
        x, y = points[-1]
        top = tops[node.row] - (0.02 if node.rule else 0)
        points += [(x, (y + top) / 2), (node.x, (y + top) / 2), (node.x, top), (node.x, bottoms[node.row])]
        codes += [Curve.CURVE4, Curve.CURVE4, Curve.CURVE4, Curve.LINETO]
    points, codes = points[:-1], codes[:-1]
    curve = PathPatch(Curve(points, codes), facecolor="none", edgecolor=ARROW, linewidth=0.7, zorder=2)
    if leads_back:
        curve.set_linestyle(DASHED)
    axes.add_patch(curve)
    (x, y), aside = (points[0], 0.02) if leads_back else (points[-1], -0.02)
    head = FancyArrowPatch((x, y + aside), (x, y), arrowstyle="-|>", mutation_scale=5, shrinkA=0, shrinkB=0, zorder=2)
    head.set(color=ARROW, linewidth=0)
    axes.add_patch(head)


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the pipeline."""
    graph = {"type": Path, "help": "what `snakemake --rulegraph dot` prints"}
    options = parser(__doc__, "shown", graph=graph, output=FIGURE).parse_args(argv)
    shown = Shown.load(options.shown)
    try:
        dot = options.graph.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{options.graph}: cannot be read ({error.strerror})") from None
    rules, edges = parse(dot)
    manifests = [(one.rule, options.shown.parent / file) for one in shown.manifests for file in one.files]
    told = labels(manifests)
    with style.plt.rc_context(style.PLACED):
        style.save(draw(rules, edges, told, shown.note), options.output)
    say("figure2", f"{len(rules)} rules, {len(manifests)} manifests -> {', '.join(options.output)}")


if __name__ == "__main__":
    run(main)
