"""Read from the code what the modules of the package import."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import m1

PACKAGE = Path(m1.__file__).parent
MODULES = {
    ".".join(("m1", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
"""Every module of the package to its file."""


@cache
def imports(module: str) -> frozenset[str]:
    """Return a module's imports, except those for type checking: modules of the package, and other packages."""
    found: set[str] = set()
    for node in _running(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: relative imports are not this package's style"
            base = node.module or ""
            inside = {f"{base}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= inside if inside and len(inside) == len(node.names) else {base, *inside}
    return frozenset(name if name.split(".")[0] == "m1" else name.split(".")[0] for name in found)


def _running(tree: ast.AST) -> list[ast.AST]:
    nodes = []
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            nodes += [node, *_running(node)]
    return nodes


def dependencies(module: str) -> set[str]:
    """Return the module and every module of the package that it imports, directly or indirectly."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in MODULES and name not in found:
            found.add(name)
            waiting += imports(name)
    return found
