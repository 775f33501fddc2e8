"""Reduce a text to what it says, without LaTeX, bold print, variant characters and superfluous white space.

Only :func:`m1.core.answers.find_option` and the protocol ``strict`` use this, on answers and options alike. The
authors' code compares the characters as they are.
"""

import re
import unicodedata
from functools import lru_cache

_ALIKE = {
    "'": "‘’‚‛′`´",
    '"': "“”„‟″«»",
    "-": "‐‑‒–—―−﹣",
    "(": "【〔〖「『〈《",
    ")": "】〕〗」』〉》",
    ".": "。",
    ",": "、",
    "/": "⁄∕",
    " ": "\t\v\f\r\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000",
    "": "\xad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff",
}
_ONE_FORM = {
    **{ord(other): one for one, others in _ALIKE.items() for other in others},
    **dict.fromkeys(range(0x2000, 0x200B), " "),
    **{0xFF01 + i: chr(0x21 + i) for i in range(0x5E)},  # full-width forms of ASCII
}
_STYLES = (
    "text textbf textit textrm textsf texttt textnormal textup textcircled mathrm mathbf mathit mathsf mathtt mathbb "
    "mathnormal boldsymbol bm mbox hbox emph underline operatorname boxed fbox ce left right big Big bigl bigr bf rm it"
)
_GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa nu xi pi rho sigma tau phi chi psi omega"
_SYMBOLS = {
    **dict.fromkeys(_STYLES.split(), ""),
    **{name: unicodedata.lookup(f"GREEK SMALL LETTER {name}") for name in _GREEK.split()},
    **{name.title(): unicodedata.lookup(f"GREEK CAPITAL LETTER {name}") for name in _GREEK.split()},
    **{"lambda": "λ", "mu": "μ", "varepsilon": "ε", "varphi": "φ", "quad": " ", "qquad": " ", "newline": " "},
    **{"times": "×", "pm": "±", "cdot": "·", "circ": "°", "degree": "°", "infty": "∞", "sim": "~", "approx": "≈"},
    **{"geq": "≥", "ge": "≥", "leq": "≤", "le": "≤", "neq": "≠", "ne": "≠", "lt": "<", "gt": ">", "sqrt": "√"},
    **{"rightarrow": "→", "to": "→", "leftarrow": "←", "uparrow": "↑", "downarrow": "↓"},
}
_DOLLAR, _LOW_LINE = "\ue000", "\ue001"  # stand for escaped `$` and `_` until the unescaped ones are removed
_ESCAPED = {
    **{"$": _DOLLAR, "_": _LOW_LINE, "%": "%", "&": "&", "#": "#"},
    **dict.fromkeys(" ,;:\\", " "),
    **dict.fromkeys("!(){}[]", ""),
}


def one_form(text: str) -> str:
    """The text with one form of each quote, dash, bracket, blank and full-width character; fast on long texts, too."""
    return text.translate(_ONE_FORM)


def unstyled(text: str) -> str:
    """A long text in one form, without the LaTeX around words: ``\\text{}``, ``\\mathbf{}``, ``$`` and the like."""
    text = _STYLED.sub(r"\1", one_form(text))
    return _MATH.sub(r"\1", _ESCAPED_MARK.sub(r"\1", text))


@lru_cache(maxsize=4096)
def plain(text: str) -> str:
    """A short text without LaTeX and bold print, with one form of each character (NFKC) and single spaces.

    A LaTeX command that changes the meaning, such as ``\\not``, stays, so that the text equals no option.
    """
    text = _LATEX.sub(_meant, one_form(text))
    text = _TIE.sub(" ", _FRACTION.sub(r" \1/\2", text))
    text = _BOLD.sub(r"\2", _MATH.sub(r"\1", text.replace("$$", "$")))
    text = text.translate({ord("{"): None, ord("}"): None, ord(_DOLLAR): "$", ord(_LOW_LINE): "_"}).strip()
    if text.count("$") == 2 and text[0] == text[-1] == "$":
        text = text[1:-1]
    text = _MIXED_NUMBER.sub(" ", _POWER.sub("^", text))
    text = one_form(unicodedata.normalize("NFKC", text))
    for sign, signs in (("≥", ">="), ("≤", "<="), ("≠", "!=")):
        text = text.replace(signs, sign)
    return _ITALIC.sub(r"\1", re.sub(r"\s+", " ", text).strip())


@lru_cache(maxsize=4096)
def spelling(text: str) -> str:
    """A plain text in the form in which two texts are compared.

    It has no surrounding quotes, no final full stop, and no white space except between two words or two numbers. An
    exponent differs from a digit (10² and 102), but an index of a letter does not (Ca²⁺ and Ca2+).
    """
    text = plain(text).strip(" '\"").rstrip(" .").strip(" '\"")
    text = _INDEX.sub("", re.sub(r"(?<!\d)\^|\^(?=°)", "", text))
    return _LOOSE_SPACE.sub("", text)


def _meant(found: re.Match[str]) -> str:
    name, mark = found.groups()
    return _SYMBOLS.get(name, found[0]) if name else _ESCAPED.get(mark, found[0])


_LATEX = re.compile(r"\\(?:([A-Za-z]+)\*?|(.))", re.DOTALL)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_STYLED = re.compile(rf"\\(?:{'|'.join(_STYLES.split())})\s?\{{([^{{}}]*)\}}")
_ESCAPED_MARK = re.compile(r"\\([%&#_$])|\\[()\[\]]")
_MATH = re.compile(r"\$(?!\s)([^$\n]{0,1000}?[^$\s])\$(?!\d)")
_TIE = re.compile(r"(?<=[^\W\d])~(?=\w)|(?<=\w)~(?=[^\W\d])")
_BOLD = re.compile(r"(\*\*|__)(.+?)\1", re.DOTALL)
_ITALIC = re.compile(r"^\*([^*]+)\*$")
_POWER = re.compile(r"(?<=\d)(?=[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻])")
_MIXED_NUMBER = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
_INDEX = re.compile(r"(?<=[^\W_])_(?=[^\W_])")
_LOOSE_SPACE = re.compile(r"(?<![^\W\d_]) (?!\d)|(?<=[^\W\d_]) (?![^\W\d_])|(?<!\d) (?=\d)")
