"""Edits of a project: of code, of a text, of the configuration."""

from __future__ import annotations

import ast
from collections.abc import Callable

from project import Project


def code(name: str, function: str) -> Callable[[Project], None]:
    """Return an edit that changes what a function does."""

    def edit(project: Project) -> None:
        path = project.path(f"workflow/m1/{name}")
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        nodes = ast.walk(ast.parse("".join(lines)))
        [found] = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == function]
        last = found.body[-1]
        lines.insert(last.lineno - 1, " " * last.col_offset + "added = 1\n")
        path.write_text("".join(lines), encoding="utf-8")

    return edit


def text(name: str, old: str, new: str) -> Callable[[Project], None]:
    return lambda project: project.replace(name, old, new)


def settings(**changes: object) -> Callable[[Project], None]:
    return lambda project: project.configure(**changes)
