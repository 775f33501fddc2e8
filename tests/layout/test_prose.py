"""What a reader finds: few pages, each linked, links that lead somewhere, sentences of a length that can be read, and
lines of code that fit a screen. Spelling and style are left to codespell and proselint (``make lint``)."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
MOST_WORDS = 40
MOST_PAGES = 10
LONGEST_LINE = 120
SENTENCE_END = re.compile(r"""(?<=[.!?…])["”’')*]*\s+(?=["“(‘*]*[A-Z0-9])""")
TWICE = re.compile(r"\b([A-Za-z]+) \1\b")
PAGE = re.compile(r"(?<![\w/.-])((?:docs|config|benchmarks|resources/paper)/[\w-]+\.md)(?:#([\w-]+))?")
"""How code, messages and pages name a page: by its path from the root."""


def tracked(*patterns: str) -> list[Path]:
    """Files of the repository, without what was installed or made in the folder."""
    done = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "--", *patterns], cwd=ROOT, text=True, capture_output=True
    )
    if done.returncode:  # an archive of the code has no history, and nothing else either
        return sorted(path for pattern in patterns for path in ROOT.rglob(pattern) if ".venv" not in path.parts)
    return sorted(path for line in set(done.stdout.splitlines()) if (path := ROOT / line).is_file())


PAGES = tracked("*.md")
CODE = tracked("*.smk", "*.js", "*.css", "*.html", "*.sh", "*.def", ".ci/run", "*Makefile", "*Snakefile", "*Dockerfile")
"""But for Python, whose lines ruff measures."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt("gfm-like", {"linkify": False}).parse(page.read_text(encoding="utf-8"))


def plain(token: Token) -> str:
    """What a reader reads of a paragraph: a piece of code counts as one word, the address of a link as none."""
    kinds = {"softbreak": "\n", "hardbreak": "\n", "code_inline": "0", "html_inline": ""}
    return "".join(kinds.get(child.type, child.content) for child in token.children or [])


def paragraphs(page: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each paragraph and item of a list; tables, headings and blocks of code are left out."""
    inside = ""
    for token in tokens(page):
        if token.type in ("table_open", "heading_open"):
            inside = token.type.replace("open", "close")
        inside = "" if token.type == inside else inside
        if token.type == "inline" and not inside and token.map:
            yield token.map[0] + 1, plain(token)


def sentences(page: Path) -> Iterator[tuple[int, str]]:
    for line, text in paragraphs(page):
        for sentence in SENTENCE_END.split(text):
            yield line, " ".join(sentence.split())


def words(sentence: str) -> int:
    return sum(any(character.isalnum() for character in word) for word in sentence.split())


@cache
def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page, and those that it sets itself."""
    found: Counter[str] = Counter()
    slugs = set(re.findall(r'<a (?:id|name)="([^"]+)"', page.read_text(encoding="utf-8")))
    for opening, token in pairwise(tokens(page)):
        if opening.type == "heading_open":
            text = "".join(child.content for child in token.children or []).strip().lower()
            slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            slugs.add(f"{slug}-{found[slug]}" if found[slug] else slug)
            found[slug] += 1
    return slugs


def links(page: Path) -> Iterator[str]:
    """Addresses of links and pictures that are no address of the web."""
    for token in tokens(page):
        for child in token.children or []:
            address = str(child.attrs.get("href") or child.attrs.get("src") or "")
            if address and not re.match(r"[a-z]+:", address):
                yield address


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_sentence_is_longer_than_can_be_read_at_once(page: Path) -> None:
    long = [
        f"{named(page)}:{line}: {words(text)} words: {text}"
        for line, text in sentences(page)
        if words(text) > MOST_WORDS
    ]
    assert not long, "\n".join(["", *long])


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_word_stands_twice(page: Path) -> None:
    twice = [f"{named(page)}:{line}: {found[0]}" for line, text in sentences(page) if (found := TWICE.search(text))]
    assert not twice, "\n".join(["", *twice])


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    lost = []
    for address in links(page):
        path, _, anchor = address.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            lost.append(f"{named(page)}: {address}")
    assert not lost, "\n".join(["", *lost])


def test_pages_that_code_messages_and_settings_name_are_there() -> None:
    files = [*CODE, *PAGES, *tracked("*.py", "*.yaml", "*.yml", "*.rst", "*.csv", "*.toml", "*.json")]
    lost, seen = [], 0
    for file in files:
        for path, anchor in PAGE.findall(file.read_text(encoding="utf-8")):
            seen += 1
            if not (ROOT / path).is_file() or (anchor and anchor not in anchors(ROOT / path)):
                lost.append(f"{named(file)}: {path}" + f"#{anchor}" * bool(anchor))
    assert seen > 30, "the pattern finds nothing"
    assert not lost, "\n".join(["", *lost])


def test_the_pages_are_few_and_the_readme_links_each() -> None:
    pages = {path.resolve() for path in [*(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md"]}
    assert len(pages) <= MOST_PAGES, sorted(map(named, pages))
    linked = {(ROOT / address.partition("#")[0]).resolve() for address in links(ROOT / "README.md")}
    assert not pages - linked, f"the README links none of {sorted(map(named, pages - linked))}"


def test_lines_of_code_fit_a_screen() -> None:
    long = [
        f"{named(path)}:{number}: {len(line)} characters"
        for path in CODE
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > LONGEST_LINE
    ]
    assert not long, "\n".join(["", *long])


def test_the_checks_see_what_they_should(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b`, C-d\n\n"
        + "word " * 41
        + "end.\nShort. [A link](https://x.org/"
        + "a-" * 60
        + ") to the the rest of `a` `a`.\n\n"
        "| a | b |\n|---|---|\n| " + "word " * 60 + " | x |\n\n## A b\n## A b\n```\n" + "word " * 60 + "\n```\n"
        "- [one](#a-b-c-d) ![two](b.png)\n",
        encoding="utf-8",
    )
    assert [words(text) for _, text in sentences(page)] == [42, 1, 9, 2]
    assert [found[0] for _, text in sentences(page) if (found := TWICE.search(text))] == ["word word", "the the"]
    assert anchors(page) == {"a-b-c-d", "a-b", "a-b-1"}
    assert list(links(page)) == ["#a-b-c-d", "b.png"]
