"""The fingerprint of a module's code, which a rule carries as a param: an edit that changes behaviour reruns it, nothing else does.

A touch, a checkout, a comment, a docstring or a formatter leaves the syntax tree, and so the fingerprint, as it was.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
WITHOUT_EFFECT = {"m1.errors", "m1.progress"}
"""Modules that only say things: an edit of a message or a progress line does not train a model again."""


def fingerprint(module: str) -> str:
    """Sixteen hexadecimal digits over the syntax trees of a module and of all it imports inside the package.

    What :data:`WITHOUT_EFFECT` holds is left out.

    Args:
        module: for example ``m1.score.judge``.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    combined = hashlib.sha256()
    for name in sorted(dependencies(module) - WITHOUT_EFFECT):
        combined.update(f"{name} {_tree(name)[0]}\n".encode())
    return combined.hexdigest()[:16]


def dependencies(module: str) -> set[str]:
    """The module, and every module of the package that it imports, directly or not, anywhere in its code."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(_tree(name)[1])
    return found


def _file(module: str) -> Path | None:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    if (path / "__init__.py").is_file():
        return path / "__init__.py"
    path = path.with_suffix(".py")
    return path if path.is_file() else None


@cache
def _tree(module: str) -> tuple[str, frozenset[str]]:
    """Hash of a module's syntax tree, and the modules of the package that it names in imports."""
    path = _file(module)
    if path is None or module.split(".")[0] != PACKAGE.name:
        raise ModuleNotFoundError(f"no module {module} in the package")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {".".join(module.split(".")[:depth]) for depth in range(1, module.count(".") + 1)}  # packages run their __init__
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    inside = frozenset(name for name in names if name.split(".")[0] == "m1" and _file(name))
    return hashlib.sha256(ast.dump(_without_docstrings(tree)).encode()).hexdigest(), inside


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and isinstance(body, list):
            # A string that stands alone does nothing: docstrings, and those after a field.
            node.body = [part for part in body if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))] or [ast.Pass()]
    return tree
