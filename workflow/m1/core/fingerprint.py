"""The fingerprint of a step's code: a hash of what the code does, whatever it is called and wherever it lies.

Rules carry it as a param, so that Snakemake runs a step again when its code changes. It covers every definition
(function, class, constant) that the step's ``main`` reaches inside the package, and the statements that the modules of
these definitions run on import.

These leave it as it was: a touch, a checkout, comments, docstrings, layout, annotations of functions; moving or
renaming a module; renaming a function, a class, a method or a constant together with its uses; import lines;
definitions that the step does not reach; messages (arguments of what :data:`WITHOUT_EFFECT` defines, and the help of
command lines).

These change it: a constant, an operator, a called function, the order of statements; the name of a parameter, a local
variable or a field (fields are columns and JSON keys); a method's name where it is also a field's, or overrides one of
a class outside the package.

How it works: each definition becomes a list of tokens in which a use of another definition stands for that definition,
not for its name. A definition's hash is refined with the hashes of what it uses until no more definitions can be told
apart (colour refinement). Two programs with equal fingerprints then reach definitions that do the same in the same way.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import m1

PACKAGE = Path(m1.__file__).parent
WITHOUT_EFFECT = {"m1.core.errors", "m1.core.progress"}
"""Modules that only say things: what is said to the user makes no step run again."""
HELP = {"help", "description", "epilog", "metavar"}
"""Keyword arguments of :mod:`argparse` that only say things."""
HARMLESS_BASES = {"typing.Protocol", "typing.NamedTuple", "typing.Generic", "object", "Exception", "ValueError"}
"""Classes outside the package that call no method by its name; methods of their subclasses may be renamed."""


@dataclass(frozen=True)
class Use:
    """A token: a definition of the package, as ``module:name`` (``module:Class.method`` for a method)."""

    key: str


@dataclass(frozen=True)
class Member:
    """A token: an attribute; it stands for the methods of that name where there are some, else for its name."""

    name: str


Token = str | Use | Member


@dataclass
class Definition:
    """A top-level definition, or a method, as tokens."""

    tokens: list[Token] = field(default_factory=list)
    fields: set[str] = field(default_factory=set)
    """Attributes that it assigns, fields that it declares, and its string constants: such names are read by reflection.
    """
    methods: dict[str, str] = field(default_factory=dict)
    """Of a class: name of each method to its key."""
    fixed: bool = False
    """Of a class: whether it has a base outside the package that may call its methods by name."""
    bases: list[str] = field(default_factory=list)
    """Of a class: keys of its bases inside the package."""


def fingerprint(module: str) -> str:
    """Sixteen hexadecimal digits over what a module's ``main`` does; over all its definitions where it has no ``main``.

    Args:
        module: for example ``m1.score.predictions``.

    Raises:
        ModuleNotFoundError: there is no such module in the package.
    """
    return _cache().fingerprint(module)


class Step(NamedTuple):
    """What a rule runs; as a param of the rule, it is the fingerprint and nothing else.

    Snakemake compares the text of commands, too. So they say ``python -m {params.code.module}``, and the module may
    move. Of params it records the ``repr`` of built-in types only, a tuple's among them; another object would be left
    out, and no change of code would rerun anything.
    """

    fingerprint: str
    module: str

    def __repr__(self) -> str:
        return self.fingerprint


def step(module: str, started_by: str | None = None) -> Step:
    """The param of a rule that runs a module.

    Args:
        started_by: the module that the rule starts in its place, which then starts this one.
    """
    return Step(fingerprint(module), started_by or module)


class _Cache:
    """Fingerprints that were computed before from the very same sources, kept beside Python's own compiled code."""

    def __init__(self, sources: str, path: Path) -> None:
        self.sources, self.path = sources, path
        self.found: dict[str, str] = {}
        with suppress(OSError, ValueError):
            kept = json.loads(path.read_text(encoding="utf-8"))
            self.found = kept["found"] if kept["sources"] == sources else {}

    def fingerprint(self, module: str) -> str:
        """The fingerprint of a module; computed and kept if it is new."""
        if module not in self.found:
            self.found[module] = _compute(module, self.sources)
            with suppress(OSError):  # a folder that cannot be written to costs two seconds at each start, nothing else
                self.path.parent.mkdir(exist_ok=True)
                partial = self.path.with_suffix(f".{os.getpid()}")
                partial.write_text(json.dumps({"sources": self.sources, "found": self.found}), encoding="utf-8")
                partial.replace(self.path)
        return self.found[module]


@cache
def _cache() -> _Cache:
    """The cache of the package as it is on disk; what is edited while this process runs is not seen."""
    combined = hashlib.sha256(sys.version.encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        combined.update(f"{path.relative_to(PACKAGE)}\0".encode() + path.read_bytes() + b"\0")
    return _Cache(combined.hexdigest(), PACKAGE / "__pycache__" / "fingerprints.json")


def _compute(module: str, sources: str) -> str:
    reached = reachable(module, sources)
    colours = refine(reached)
    return hashlib.sha256("\n".join(sorted(set(colours.values()))).encode()).hexdigest()[:16]


def reachable(module: str, sources: str = "") -> dict[str, Definition]:
    """Every definition that a module's ``main`` uses, directly or not, by its key.

    Args:
        sources: a hash of the package's sources; other sources are parsed anew.
    """
    found: dict[str, Definition] = {}
    effects: set[str] = set()
    waiting = [Use(f"{module}:main" if "main" in parse_module(module, sources).definitions else f"{module}:*")]
    while waiting:
        key = waiting.pop().key
        if key in found:
            continue
        home, _, name = key.partition(":")
        found[key] = definition = parse_module(home, sources).definition(name)
        waiting += [token for token in definition.tokens if isinstance(token, Use)]
        waiting += [Use(method) for method in definition.methods.values()]
        for imported in _module_closure(home, effects, sources):
            waiting.append(Use(f"{imported}:!"))
    return found


def _module_closure(module: str, seen: set[str], sources: str) -> Iterator[str]:
    """The module and what it imports inside the package, each once: their statements run on import."""
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen and name not in WITHOUT_EFFECT:
            seen.add(name)
            yield name
            waiting += parse_module(name, sources).imports


def refine(reached: dict[str, Definition]) -> dict[str, str]:
    """A hash for each definition: equal for two that do the same, whatever they and what they use are called."""
    bearers: dict[str, list[str]] = {}
    for definition in reached.values():
        for name, key in definition.methods.items():
            bearers.setdefault(name, []).append(key)
    for name in _literal_names(reached):
        bearers.pop(name, None)

    def render(tokens: Iterable[Token], colours: dict[str, str]) -> str:
        parts = []
        for token in tokens:
            if isinstance(token, Use):
                parts.append(colours[token.key])
            elif isinstance(token, Member):
                keys = bearers.get(token.name)
                parts.append("|".join(sorted(colours[key] for key in keys)) if keys else f".{token.name}")
            else:
                parts.append(token)
        return "\0".join(parts)

    colours = dict.fromkeys(reached, "")
    while True:
        classes = len(set(colours.values()))
        colours = {
            key: hashlib.sha256(render(one.tokens, colours).encode()).hexdigest() for key, one in reached.items()
        }
        if len(set(colours.values())) == classes:
            return colours


def _literal_names(reached: dict[str, Definition]) -> set[str]:
    """Names of methods that count: special ones, those that are fields as well, and those that others may call by
    name."""
    names = {name for one in reached.values() for name in one.fields}
    for one in reached.values():
        above, fixed = list(one.bases), one.fixed
        while above:
            base = reached.get(above.pop(), Definition())
            fixed, above = fixed or base.fixed, above + base.bases
        names |= {name for name in one.methods if fixed or name.startswith("__")}
    return names


@dataclass
class _Module:
    """A module, parsed: what its names stand for, and its definitions as tokens."""

    name: str
    bindings: dict[str, str] = field(default_factory=dict)
    """Name to ``module:name`` (a definition), ``m1.x`` (a module of the package) or ``=os.path`` (from outside)."""
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    """Name to the statements that bind it."""
    effects: list[ast.stmt] = field(default_factory=list)
    """Statements that run on import and bind nothing."""
    imports: list[str] = field(default_factory=list)
    """Modules of the package that it imports anywhere."""
    sources: str = ""
    made: dict[str, Definition] = field(default_factory=dict)

    def definition(self, name: str) -> Definition:
        """A definition by name, a method by ``Class.method``; ``!``: the statements run on import; ``*``:
        everything."""
        if name not in self.made:
            reader = _Reader(self, name)
            if name == "*":
                for one in self.definitions:
                    reader.emit(Use(f"{self.name}:{one}"))
            elif name == "!":
                for statement in self.effects:
                    reader.read(statement)
            elif "." in name:
                raise KeyError(f"{self.name}:{name}: a method is read with its class")
            else:
                for statement in self.definitions[name]:
                    reader.define(statement)
            self.made |= {name: reader.definition, **reader.methods}
        return self.made[name]


@cache
def parse_module(module: str, sources: str = "") -> _Module:
    """A module of the package by its name; see :class:`_Module`."""
    path = _file(module)
    if path is None:
        raise ModuleNotFoundError(f"no module {module} in the package")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = _Module(module, sources=sources)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in [*named, *(value.partition(":")[0] for value in _import_bindings(node, found).values())]:
                parts = name.split(".")  # a package's own statements run before those of what is in it
                found.imports += [one for depth in range(1, len(parts) + 1) if _file(one := ".".join(parts[:depth]))]
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            found.bindings |= _import_bindings(statement, found)
        elif isinstance(statement, ast.If) and _is_main_or_typing(statement.test):
            continue
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # a docstring
        else:
            names = _bound_names([statement])
            for name in names:
                found.bindings[name] = f"{module}:{name}"
                found.definitions.setdefault(name, []).append(statement)
            if not names or isinstance(statement, ast.If | ast.Try | ast.For | ast.While | ast.With):
                found.effects.append(statement)
    return found


def _is_main_or_typing(test: ast.expr) -> bool:
    said = ast.unparse(test)
    return said in {"__name__ == '__main__'", "TYPE_CHECKING", "typing.TYPE_CHECKING"}


def _file(module: str) -> Path | None:
    first, *others = module.split(".")
    if first != PACKAGE.name:
        return None
    path = PACKAGE.joinpath(*others)
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def _import_bindings(node: ast.Import | ast.ImportFrom, module: _Module) -> dict[str, str]:
    """Name to what an import binds it to, as in :attr:`_Module.bindings`."""
    if isinstance(node, ast.Import):
        found = {alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names}
        found = {name: target if name != target.partition(".")[0] else name for name, target in found.items()}
        return {name: target if _file(target) else f"={target}" for name, target in found.items()}
    base = node.module or ""
    if node.level:
        path = _file(module.name)
        package = module.name.split(".")[: None if path and path.name == "__init__.py" else -1]
        base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
    found = {}
    for alias in node.names:
        target = f"{base}.{alias.name}"
        found[alias.asname or alias.name] = (
            target if _file(target) else f"{base}:{alias.name}" if _file(base) else f"={target}"
        )
    return found


def _bound_names(statements: Sequence[ast.AST]) -> list[str]:
    """Names that statements bind in their own scope, in order; not those of functions and comprehensions inside."""
    found: dict[str, None] = {}
    waiting: list[ast.AST] = list(reversed(statements))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = None
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            found[node.id] = None
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            found[node.name] = None
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            inside = [
                part for part in ast.walk(node) if isinstance(part, ast.NamedExpr)
            ]  # `:=` binds outside a comprehension
            found |= {part.target.id: None for part in inside}
            continue
        waiting += reversed(list(ast.iter_child_nodes(node)))
    return list(found)


class _Names:
    """What names stand for at a place of a module, and the tokens that they become.

    ``scopes`` has, from outside in, what each name stands for: None for a local variable, else as in
    :attr:`_Module.bindings`.
    """

    def __init__(self, module: _Module, name: str) -> None:
        self.module, self.name = module, name
        self.definition = Definition()
        self.methods: dict[str, Definition] = {}
        self.scopes: list[dict[str, str | None]] = []

    def emit(self, token: Token) -> None:
        self.definition.tokens.append(token)

    def meaning(self, name: str) -> str | None:
        """What a name stands for here; None for a local variable, ``=name`` for what is neither local nor bound in the
        module."""
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return self.module.bindings.get(name, f"={name}")

    def resolve(self, node: ast.expr) -> str | None:
        """What a dotted expression stands for, where it is a module, a definition or something outside; None for any
        other value."""
        if isinstance(node, ast.Name):
            return _follow(self.meaning(node.id), self.module.sources)
        if isinstance(node, ast.Attribute) and (base := self.resolve(node.value)):
            if base.startswith("="):
                return f"{base}.{node.attr}"
            if ":" not in base:
                inside = parse_module(base, self.module.sources).bindings.get(node.attr)
                return _follow(f"{base}.{node.attr}" if _file(f"{base}.{node.attr}") else inside, self.module.sources)
        return None

    def refer(self, meaning: str) -> None:
        """A token for what a name stands for; what a module as a whole is used for is not known, so it counts whole."""
        home = meaning.partition(":")[0]
        if meaning.startswith("="):
            self.emit(meaning)
        elif home in WITHOUT_EFFECT:
            self.emit(f"says {meaning.partition(':')[2]}")
        elif ":" in meaning:
            self.emit(Use(meaning))
        else:
            self.emit(
                Use(f"{meaning}:{'main' if 'main' in parse_module(meaning, self.module.sources).definitions else '*'}")
            )


class _Statements(_Names):
    """Turns expressions, statements and functions into tokens."""

    def read(self, node: ast.AST) -> None:
        """A node and all below it."""
        special = getattr(self, f"read_{type(node).__name__.lower()}", None)
        if special:
            special(node)
            return
        self.emit(f"({type(node).__name__}")
        for name, value in ast.iter_fields(node):
            if name in ("ctx", "type_comment", "kind", "type_params") or value is None or value == []:
                continue
            self.emit(name)
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, ast.AST):
                    self.read(part)
                else:
                    self.emit(repr(part))
        self.emit(")")

    def read_name(self, node: ast.Name) -> None:
        meaning = self.resolve(node)
        if meaning is None:
            self.emit(f"local {node.id}")
        else:
            self.refer(meaning)

    def read_attribute(self, node: ast.Attribute) -> None:
        if meaning := self.resolve(node):
            self.refer(meaning)
            return
        self.read(node.value)
        self.emit(Member(node.attr))
        if isinstance(node.ctx, ast.Store | ast.Del):
            self.definition.fields.add(node.attr)

    def read_constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, str):
            if value.startswith(f"{PACKAGE.name}.") and _file(value):
                self.refer(value)  # the name of a module that is started as a program
                return
            self.definition.fields.add(value)
        self.emit(f"{type(value).__name__} {value!r}")

    def read_call(self, node: ast.Call) -> None:
        meaning = self.resolve(node.func) or ""
        if meaning.partition(":")[0] in WITHOUT_EFFECT:
            self.refer(meaning)
            return
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        arguments = name in {"add_argument", "add_parser", "add_subparsers"} or meaning == "=argparse.ArgumentParser"
        self.emit("(Call")
        self.read(node.func)
        for part in node.args:
            self.read(part)
        for keyword in node.keywords:
            if not (arguments and keyword.arg in HELP):
                self.emit(f"{keyword.arg}=")
                self.read(keyword.value)
        self.emit(")")

    def read_import(self, node: ast.Import | ast.ImportFrom) -> None:
        """An import inside a function: what it binds is known by its scope; the line itself does not count."""

    read_importfrom = read_import

    def read_annassign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.read(ast.Assign(targets=[node.target], value=node.value))

    def read_expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # else a docstring
            self.emit("(Expr")
            self.read(node.value)
            self.emit(")")

    def read_lambda(self, node: ast.Lambda) -> None:
        self.emit("(Lambda")
        self.read_arguments(node.args)
        self.scopes.append(dict.fromkeys(_parameters(node.args)))
        self.read(node.body)
        self.scopes.pop()
        self.emit(")")

    def read_comprehension_scope(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        self.emit(f"({type(node).__name__}")
        self.read(node.generators[0].iter)  # outside the scope
        self.scopes.append(dict.fromkeys(_bound_names([part.target for part in node.generators])))
        for number, part in enumerate(node.generators):
            self.emit(f"for {part.is_async}")
            self.read(part.target)
            if number:
                self.read(part.iter)
            for condition in part.ifs:
                self.emit("if")
                self.read(condition)
        for value in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self.emit("value")
            self.read(value)
        self.scopes.pop()
        self.emit(")")

    read_listcomp = read_setcomp = read_dictcomp = read_generatorexp = read_comprehension_scope

    def read_functiondef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """A function inside another one; its name is a local variable."""
        self.emit(f"local {node.name}")
        self.read_function(node)

    read_asyncfunctiondef = read_functiondef

    def read_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """A function without its name, docstring and annotations."""
        self.emit(f"({type(node).__name__}")
        for decorator in node.decorator_list:
            self.read(decorator)
        self.read_arguments(node.args)
        scope: dict[str, str | None] = dict.fromkeys([*_parameters(node.args), *_bound_names(node.body)])
        inner = [part for statement in node.body for part in _same_scope(statement)]
        for part in inner:
            if isinstance(part, ast.Import | ast.ImportFrom):
                scope |= _import_bindings(part, self.module)
        for part in inner:
            if isinstance(part, ast.Global | ast.Nonlocal):
                for name in part.names:
                    scope.pop(name, None)
        self.scopes.append(scope)
        for statement in node.body:
            self.read(statement)
        self.scopes.pop()
        self.emit(")")

    def read_arguments(self, node: ast.arguments) -> None:
        self.emit(f"{[argument.arg for argument in node.posonlyargs]} {[argument.arg for argument in node.args]}")
        self.emit(
            f"{node.vararg and node.vararg.arg} {[argument.arg for argument in node.kwonlyargs]} "
            f"{node.kwarg and node.kwarg.arg}"
        )
        for value in [*node.defaults, *node.kw_defaults]:
            self.emit("default")
            if value is not None:
                self.read(value)


class _Reader(_Statements):
    """Turns one definition of a module into tokens: a function, a constant, or a class with its methods."""

    def define(self, statement: ast.stmt) -> None:
        """A top-level statement, of which this definition is one name; its own name does not count."""
        if isinstance(statement, ast.ClassDef):
            self.read_class(statement)
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            self.read_function(statement)
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            places = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
            self.emit(f"={places.index(self.name)}")
            self.read(statement.value)
        else:
            self.read(statement)

    def read_classdef(self, node: ast.ClassDef) -> None:
        """A class inside a function; its name is a local variable, and its methods keep their names."""
        self.emit(f"local {node.name}")
        self.emit("(ClassDef")
        for part in [*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)]:
            self.read(part)
        self.scopes.append({})
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                self.definition.fields.add(statement.name)
            self.read(statement)
        self.scopes.pop()
        self.emit(")")

    def read_class(self, node: ast.ClassDef) -> None:
        """A class without its name: bases, fields with their types, and a use of each method, which are definitions of
        their own."""
        self.emit("(ClassDef")
        for base in node.bases:
            meaning = self.resolve(base.value if isinstance(base, ast.Subscript) else base) or "?"
            if ":" in meaning:
                self.definition.bases.append(meaning)
            elif meaning.removeprefix("=") not in HARMLESS_BASES:
                self.definition.fixed = True
        for part in [*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)]:
            self.read(part)
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                self.read_method(statement)
            elif isinstance(statement, ast.AnnAssign):
                name = statement.target.id if isinstance(statement.target, ast.Name) else ast.unparse(statement.target)
                self.definition.fields.add(name)
                self.emit(f"field {name}")
                self.read(statement.annotation)
                if statement.value is not None:
                    self.emit("=")
                    self.read(statement.value)
            else:
                self.definition.fields |= set(_bound_names([statement]))
                self.read(statement)
        self.emit(")")

    def read_method(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """A method as a definition of its own; a second one of the same name (a setter) goes with the first."""
        name = f"{self.name}.{node.name}"
        reader = _Reader(self.module, name)
        reader.definition = self.methods.setdefault(name, reader.definition)
        reader.scopes = list(self.scopes)
        reader.read_function(node)
        key = f"{self.module.name}:{name}"
        self.definition.methods[node.name] = key
        self.emit(Member(node.name))
        self.emit(Use(key))


def _parameters(node: ast.arguments) -> list[str]:
    every = [*node.posonlyargs, *node.args, *node.kwonlyargs, *filter(None, (node.vararg, node.kwarg))]
    return [argument.arg for argument in every]


def _same_scope(node: ast.AST) -> Iterator[ast.AST]:
    """A node and those below it, not inside other functions and classes."""
    yield node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _same_scope(child)


def _follow(meaning: str | None, sources: str) -> str | None:
    """The definition behind a name that a module only passes on; what its module does not bind is an attribute of it
    from outside."""
    while meaning and ":" in meaning and not meaning.startswith("="):
        home, _, name = meaning.partition(":")
        found = parse_module(home, sources).bindings.get(name, f"={name}")
        if found == meaning:
            return meaning
        meaning = found
    return meaning
