"""Figures of text: paragraphs below each other. Whatever a model wrote, every reader of PDF can show them."""

import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import LoadFlags
from matplotlib.patches import Rectangle

from m1.core import style

LEFT_OUT = "[… {count:,} {unit} left out …]"
MISSING = "\N{WHITE SQUARE}"
INVISIBLE = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
"""Unicode categories that print nothing: control and bidirectional marks, private use, surrogates, separators."""


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


def text_width(text: str, bold: bool = False) -> float:
    """Width of a printable text in ems."""
    return sum(_advance(character, bold) for character in text)


def printable(text: str) -> str:
    """The text in characters that the font has. Others become a square, invisible ones are removed, tabs become spaces,
    and line ends stay."""

    def replace(character: str) -> str:
        if character == "\n":
            return character
        if unicodedata.category(character) in INVISIBLE:
            return ""
        return character if ord(character) in _known() else MISSING

    return "".join(map(replace, text.replace("\t", "    ")))


def shorten(text: str, limit: int) -> str:
    """The text in about ``limit`` characters. Of a longer text, a remark replaces the middle and counts it."""
    if len(text) <= limit:
        return text
    head, tail = limit * 3 // 5, limit * 2 // 5
    left_out = LEFT_OUT.format(count=len(text) - head - tail, unit="characters")
    return f"{text[:head]} {left_out} {text[len(text) - tail :]}"


def shorten_tokens(ids: Sequence[int], decode: Callable[[Sequence[int]], str], limit: int) -> str:
    """The text of token ids, shortened as by :func:`shorten`; whole tokens are left out."""
    if len(text := decode(ids)) <= limit:
        return text
    n = len(ids)
    head = bisect_right(range(n), limit * 3 // 5, key=lambda count: len(decode(ids[:count]))) - 1
    tail = bisect_right(range(n - head), limit * 2 // 5, key=lambda count: len(decode(ids[n - count :]))) - 1
    left_out = LEFT_OUT.format(count=n - head - tail, unit="tokens")
    return f"{decode(ids[:head])} {left_out} {decode(ids[n - tail :])}"


def wrap(text: str, width: float, bold: bool = False) -> list[str]:
    """Lines of a printable text, each at most ``width`` ems wide. A word that is wider is broken."""
    lines = []
    for paragraph in text.strip("\n").split("\n"):
        line, used = "", 0.0
        for word in paragraph.split(" "):
            need = text_width(word, bold)
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
    # Models often write many empty lines; one is enough to tell paragraphs apart.
    return [line for i, line in enumerate(lines) if line.strip() or (i and lines[i - 1].strip())]


@dataclass(frozen=True)
class Block:
    """A paragraph of a figure."""

    text: str
    bold: bool = False
    colour: str = "0.1"
    shade: str = "white"  # behind it
    bar: str = ""  # colour of the bar at its left; empty for none
    size: float = 6.5  # points
    pad: float = 0.5  # lines of room above and below, together

    @cached_property
    def lines(self) -> list[str]:
        """The text as it is printed, in lines that the figure is wide enough for."""
        return wrap(printable(self.text), (WIDTH - 2 * MARGIN - 2 * INNER) * 72 / self.size, self.bold) or [""]

    @property
    def height(self) -> float:
        """Inches."""
        return (LEADING * len(self.lines) + self.pad) * self.size / 72


WIDTH, MARGIN, INNER = style.WIDTH, 0.05, 0.08  # inches: the figure, its margin, the room left and right of text
NOTE = 6.0  # points; the font size of the note at the foot
LEADING = 1.32  # from one line to the next, as a multiple of the font size


def height(blocks: Sequence[Block]) -> float:
    """Height of a figure of paragraphs, in inches."""
    return sum(block.height for block in blocks) + 2 * MARGIN


def draw(blocks: Sequence[Block]) -> Figure:
    """Paragraphs below each other, as wide as a column. Made within ``plt.rc_context(style.PLACED)``."""
    figure = style.plt.figure(figsize=(WIDTH, height(blocks)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(height(blocks), 0))
    axes.set_axis_off()
    top = MARGIN
    for block in blocks:
        axes.add_patch(Rectangle((MARGIN, top), WIDTH - 2 * MARGIN, block.height, facecolor=block.shade, linewidth=0))
        if block.bar:
            axes.add_patch(Rectangle((MARGIN, top), 0.03, block.height, facecolor=block.bar, linewidth=0))
        for number, line in enumerate(block.lines):
            middle = top + (block.pad / 2 + LEADING * (number + 0.5)) * block.size / 72
            drawn = axes.text(MARGIN + INNER, middle, line, va="center_baseline", parse_math=False)
            drawn.set(fontsize=block.size, color=block.colour, fontweight="bold" if block.bold else "normal")
        top += block.height
    return figure


def label_below(figure: Figure, label: str, note: str) -> None:
    """Label the x axes of a figure of panels together, and print a note below; empty for none."""
    lines = wrap(printable(note), (WIDTH - 2 * MARGIN) * 72 / NOTE) if note else []
    # The layout makes room for this label, so its empty lines hold the note.
    figure.supxlabel(label + "\n" * len(lines))
    foot = figure.text(0.5, 0.04 / figure.get_figheight(), "\n".join(lines), ha="center", va="bottom")
    foot.set(fontsize=NOTE, color=style.MUTED, parse_math=False)
