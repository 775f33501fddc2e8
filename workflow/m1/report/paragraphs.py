"""Figures of text: paragraphs below each other, which any reader of PDF can show, whatever a model wrote."""

import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import LoadFlags
from matplotlib.patches import Rectangle

from m1.core import style

LEFT_OUT = "[… {count:,} {unit} left out …]"
MISSING = "\N{WHITE SQUARE}"
INVISIBLE = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
"""Unicode's categories of what is no printed character: control and bidirectional marks, private use, surrogates."""


@cache
def _font(bold: bool) -> Any:
    face = font_manager.FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    return font_manager.get_font(font_manager.findfont(face))


@cache
def _advance(character: str, bold: bool) -> float:
    """Width of a character in ems."""
    font = _font(bold)
    font.set_size(100, 72)
    return float(font.load_char(ord(character), flags=LoadFlags.NO_HINTING).linearHoriAdvance) / 65536 / 100


@cache
def _known() -> frozenset[int]:
    return frozenset(_font(False).get_charmap()) & frozenset(_font(True).get_charmap())


def printable(text: str) -> str:
    """Text of characters that the font has: others are a square, invisible ones gone, tabs spaces; line ends stay."""

    def replace(character: str) -> str:
        if character == "\n":
            return character
        if unicodedata.category(character) in INVISIBLE:
            return ""
        return character if ord(character) in _known() else MISSING

    return "".join(map(replace, text.replace("\t", "    ")))


def shorten(text: str, limit: int) -> str:
    """At most about ``limit`` characters: the middle of a longer text is left out, which it says."""
    if len(text) <= limit:
        return text
    head, tail = limit * 3 // 5, limit * 2 // 5
    left_out = LEFT_OUT.format(count=len(text) - head - tail, unit="characters")
    return f"{text[:head]} {left_out} {text[len(text) - tail :]}"


def shorten_tokens(ids: Sequence[int], decode: Callable[[Sequence[int]], str], limit: int) -> str:
    """As :func:`shorten` the text of tokens; whole tokens are left out."""
    if len(text := decode(ids)) <= limit:
        return text
    n = len(ids)
    head = bisect_right(range(n), limit * 3 // 5, key=lambda count: len(decode(ids[:count]))) - 1
    tail = bisect_right(range(n - head), limit * 2 // 5, key=lambda count: len(decode(ids[n - count :]))) - 1
    left_out = LEFT_OUT.format(count=n - head - tail, unit="tokens")
    return f"{decode(ids[:head])} {left_out} {decode(ids[n - tail :])}"


def wrap(text: str, width: float, bold: bool = False) -> list[str]:
    """Lines of a printable text that are no wider than ``width``, in ems; a word that is wider is broken."""
    lines = []
    for paragraph in text.strip("\n").split("\n"):
        line, used = "", 0.0
        for word in paragraph.split(" "):
            need = sum(_advance(character, bold) for character in word)
            space = _advance(" ", bold) if line else 0.0
            if line and used + space + need > width:
                lines.append(line)
                line, used, space = "", 0.0, 0.0
            if need <= width:
                line, used = f"{line} {word}" if space else word, used + space + need
                continue
            for character in word:
                wide = _advance(character, bold)
                if used + wide > width:
                    lines.append(line)
                    line, used = "", 0.0
                line, used = line + character, used + wide
        lines.append(line)
    # One empty line at a time.
    return [line for i, line in enumerate(lines) if line.strip() or (i and lines[i - 1].strip())]


@dataclass(frozen=True)
class Block:
    """A paragraph of a figure."""

    text: str
    bold: bool = False
    colour: str = "0.1"
    shade: str = "white"  # behind it
    bar: str = ""  # colour of the bar at its left; empty for none
    size: float = 7.0  # points
    pad: float = 0.5  # lines of room above and below, together


WIDTH, MARGIN, INNER = 7.0, 0.15, 0.12  # inches: the figure, its margin, the room left and right of text


def draw(blocks: Sequence[Block]) -> Figure:
    """Paragraphs below each other. Made within ``plt.rc_context(style.PLACED)``."""
    placed: list[tuple[float, float, Block, list[str]]] = []
    y = MARGIN
    for block in blocks:
        lines = wrap(printable(block.text), (WIDTH - 2 * MARGIN - 2 * INNER) * 72 / block.size, block.bold) or [""]
        height = (1.32 * len(lines) + block.pad) * block.size / 72
        placed.append((y, height, block, lines))
        y += height
    figure = style.plt.figure(figsize=(WIDTH, y + MARGIN))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(y + MARGIN, 0))
    axes.set_axis_off()
    for top, height, block, lines in placed:
        axes.add_patch(Rectangle((MARGIN, top), WIDTH - 2 * MARGIN, height, facecolor=block.shade, linewidth=0))
        if block.bar:
            axes.add_patch(Rectangle((MARGIN, top), 0.04, height, facecolor=block.bar, linewidth=0))
        for number, line in enumerate(lines):
            middle = top + (block.pad / 2 + 1.32 * (number + 0.5)) * block.size / 72
            drawn = axes.text(MARGIN + INNER, middle, line, va="center_baseline", parse_math=False)
            drawn.set(fontsize=block.size, color=block.colour, fontweight="bold" if block.bold else "normal")
    return figure
