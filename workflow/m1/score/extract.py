"""Extraction of the final answer from a response (B.3): the last ``\\boxed{}``, as the released code takes it."""

from __future__ import annotations

import re

_BRACE = re.compile(r"[{}]")


def extract_boxed(text: str) -> str:
    """What the last ``\\boxed{}`` of a text holds, with one ``\\text{}`` inside it taken off; the whole text where nothing is boxed.

    Nothing is stripped, and what precedes the last ``=`` inside is dropped ("x = 3" gives "3"). The released code takes only
    ``\\boxed{`` and ``\\text{`` off, so a ``\\fbox{}`` and a box inside the box stay as they are. Time is linear in the text.
    """
    inner = _content(_last_box(text), r"\boxed{")
    return _content(_last_box(inner), r"\text{")


def _last_box(text: str) -> str:
    """From the last ``\\boxed`` (else ``\\fbox``) to the brace that closes it; the whole text where there is none or it stays open."""
    start = text.rfind(r"\boxed")
    if start < 0:
        start = text.rfind(r"\fbox")
    if start < 0:
        return text
    depth = 0
    for brace in _BRACE.finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0 and brace[0] == "}":
            return text[start : brace.end()]
    return text


def _content(text: str, command: str) -> str:
    """What a command's braces hold, from behind the last ``=``; the text itself unless it is exactly such a command."""
    if not (text.startswith(command) and text.endswith("}")):
        return text
    inside = text[len(command) : -1]
    return inside.rpartition("=")[2].lstrip(" ") if "=" in inside else inside
