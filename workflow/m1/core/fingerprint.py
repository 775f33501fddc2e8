"""Compute the fingerprint of a step's code: a hash of what the code does, independent of names and places.

Every rule carries it as a param, so Snakemake reruns a step when its code changes. It covers every definition
(function, class, constant) that the step's ``main`` reaches inside the package, and the statements that the modules of
these definitions run on import.

``docs/architecture.md`` lists the edits that keep it and those that change it. Another name of a method changes it only
if a field has that name, too, or the method overrides one of a class outside the package.

How it works: each definition becomes a list of tokens. A token for the use of another definition stands for that
definition, not for its name. A definition's hash is then refined with the hashes of the definitions that it uses, until
no more definitions can be told apart (colour refinement). If two programs have equal fingerprints, they reach
definitions that do the same in the same way.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
from collections import ChainMap
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.util import resolve_name
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import m1

PACKAGE = Path(m1.__file__).parent
WITHOUT_EFFECT = {"m1.core.errors", "m1.core.progress", "m1.core.fingerprint"}
"""Modules whose code decides no result: messages to the user, and this file."""
HELP = {"help", "description", "epilog", "metavar"}  # keyword arguments of argparse that only hold text for people
HARMLESS_BASES = {"typing.Protocol", "typing.NamedTuple", "typing.Generic", "object", "Exception", "ValueError"}
"""Classes outside the package that call no method by its name; methods of their subclasses may be renamed."""
NOT_RUN = {"__name__ == '__main__'", "TYPE_CHECKING", "typing.TYPE_CHECKING"}
"""Conditions of ``if`` that are false when a step imports a module."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
Import = ast.Import | ast.ImportFrom


class Use(NamedTuple):
    """A token: a definition of the package, as ``module:name`` (``module:Class.method`` for a method)."""

    key: str


class Member(NamedTuple):
    """A token: an attribute. It stands for the methods of that name if there are any, else for the name itself."""

    name: str


Token = str | Use | Member


@dataclass
class Definition:
    """A top-level definition or a method, as tokens.

    Attributes:
        tokens: the definition's code.
        fields: names that may be read by reflection: attributes that it assigns, fields that it declares, and its
            string constants.
        methods: of a class, the names of its methods to their keys.
        bases: of a class, the keys of its base classes inside the package.
        fixed: of a class, whether it has a base outside the package, which may call its methods by name.
    """

    tokens: list[Token] = field(default_factory=list)
    fields: set[str] = field(default_factory=set)
    methods: dict[str, str] = field(default_factory=dict)
    bases: list[str] = field(default_factory=list)
    fixed: bool = False


def fingerprint(module: str) -> str:
    """The fingerprint of a module's ``main``, or of all its definitions if it has no ``main``: 16 hexadecimal digits.

    Raises:
        ModuleNotFoundError: there is no such module in the package.
    """
    path, kept = _kept()
    if module not in kept["found"]:
        colours = set(refine(reachable(module)).values())
        kept["found"][module] = hashlib.sha256("\n".join(sorted(colours)).encode()).hexdigest()[:16]
        with suppress(OSError):  # a folder that cannot be written to costs a second at each start, nothing else
            path.parent.mkdir(exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps(kept), encoding="utf-8")
            partial.replace(path)
    return kept["found"][module]


@cache
def _kept() -> tuple[Path, dict[str, Any]]:
    """The cache file of fingerprints (beside Python's compiled code), and its content for the present sources.

    The sources are read once, at the first call in a process. Computing all fingerprints takes a second, and every
    start of Snakemake needs them.
    """
    parse_module.cache_clear()
    _file.cache_clear()
    sources = hashlib.sha256(sys.version.encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        sources.update(f"{path.relative_to(PACKAGE)}\0".encode() + path.read_bytes() + b"\0")
    path = PACKAGE / "__pycache__" / "fingerprints.json"
    with suppress(OSError, ValueError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["sources"] == sources.hexdigest():
            return path, kept
    return path, {"sources": sources.hexdigest(), "found": {}}


class Step(NamedTuple):
    """The module that a rule runs; Snakemake records it as the module's fingerprint alone.

    Snakemake also compares the text of commands. So commands say ``python -m {params.code.module}``, and the module may
    move. Snakemake records the ``repr`` of params of built-in types, such as this tuple, and ignores other objects.
    """

    fingerprint: str
    module: str

    def __repr__(self) -> str:
        return self.fingerprint


def step(module: str, started_by: str | None = None) -> Step:
    """The param ``code`` of a rule that runs a module, directly or through a launcher (the module ``started_by``)."""
    return Step(fingerprint(module), started_by or module)


def reachable(module: str) -> dict[str, Definition]:
    """Every definition that a module's ``main`` uses, directly or not, by its key."""
    found: dict[str, Definition] = {}
    waiting = [_whole(module)]
    while waiting:
        key = waiting.pop()
        if key in found:
            continue
        home, _, name = key.partition(":")
        found[key] = definition = parse_module(home).definition(name)
        waiting += [token.key for token in definition.tokens if isinstance(token, Use)]
        waiting.append(f"{home}:!")
        if name == "!":  # the statements of what it imports run, too
            waiting += [f"{one}:!" for one in parse_module(home).imports if one not in WITHOUT_EFFECT]
    return found


def refine(reached: dict[str, Definition]) -> dict[str, str]:
    """A hash for each definition; two that do the same have equal hashes, whatever the names in them are."""
    bearers: dict[str, list[str]] = {}
    literal = _literal_names(reached)
    for definition in reached.values():
        for name in definition.methods.keys() - literal:
            bearers.setdefault(name, []).append(definition.methods[name])
    colours = dict.fromkeys(reached, "")

    def render(token: Token) -> str:
        if isinstance(token, Use):
            return colours[token.key]
        if isinstance(token, Member):
            named = bearers.get(token.name)
            return "|".join(sorted(colours[key] for key in named)) if named else f".{token.name}"
        return token

    classes = 0
    while len(set(colours.values())) > classes:
        classes = len(set(colours.values()))
        texts = {key: "\0".join(map(render, one.tokens)) for key, one in reached.items()}
        colours = {key: hashlib.sha256(text.encode()).hexdigest() for key, text in texts.items()}
    return colours


def _literal_names(reached: dict[str, Definition]) -> set[str]:
    """Names of methods that must not be renamed: special methods, names that are also fields, and methods that a base
    class outside the package may call."""
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
    """A parsed module: what its names stand for, and its definitions.

    Attributes:
        bindings: name to ``module:name`` (a definition), ``m1.x`` (a module of the package) or ``=os.path`` (anything
            from outside the package).
        definitions: name to the statements that bind it.
        effects: statements that run on import and bind nothing.
        imports: modules of the package that it imports, at the top or inside functions.
        made: the definitions that have been turned into tokens.
    """

    name: str
    package: str
    bindings: dict[str, str] = field(default_factory=dict)
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    effects: list[ast.stmt] = field(default_factory=list)
    imports: list[str] = field(default_factory=list)
    made: dict[str, Definition] = field(default_factory=dict)

    def definition(self, name: str) -> Definition:
        """A definition by its name (``Class.method`` for a method); ``!`` is what runs on import, ``*`` everything."""
        if name not in self.made:
            reader = _Reader(self, name)
            if name == "*":
                reader.emit(*(Use(f"{self.name}:{one}") for one in self.definitions))
            elif name == "!":
                reader.read(*self.effects)
            else:
                for statement in self.definitions[name]:
                    reader.define(statement)
            self.made |= {name: reader.definition, **reader.methods}
        return self.made[name]


@cache
def parse_module(name: str) -> _Module:
    """Parse a module of the package, given by its dotted name."""
    path = _file(name)
    if path is None:
        raise ModuleNotFoundError(f"no module {name} in the package")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = _Module(name, name if path.name == "__init__.py" else name.rpartition(".")[0])
    for node in _statements(tree):
        if isinstance(node, Import):
            bound = [target.partition(":")[0] for target in _import_bindings(node, module).values()]
            for one in [alias.name for alias in node.names] if isinstance(node, ast.Import) else bound:
                packages = accumulate(one.split("."), "{}.{}".format)  # their statements run before those inside
                module.imports += filter(_file, packages)
    for statement in tree.body:
        test = ast.unparse(statement.test) if isinstance(statement, ast.If) else ""
        if isinstance(statement, Import):
            module.bindings |= _import_bindings(statement, module)
        elif test not in NOT_RUN and not _is_docstring(statement):
            names = _bound_names(_same_scope([statement]))
            module.bindings |= {one: f"{name}:{one}" for one in names}
            for one in names:
                module.definitions.setdefault(one, []).append(statement)
            if not names or isinstance(statement, ast.If | ast.Try | ast.For | ast.While | ast.With):
                module.effects.append(statement)
    return module


def _is_docstring(statement: ast.AST) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


@cache
def _file(module: str) -> Path | None:
    """The source file of a module of the package; None for any other name."""
    first, *others = module.split(".")
    path = PACKAGE.joinpath(*others)
    candidates = (path / "__init__.py", path.with_suffix(".py")) if first == PACKAGE.name else ()
    return next(filter(Path.is_file, candidates), None)


def _whole(module: str) -> str:
    """The key of what running a module executes: its ``main`` or, without one, all of it."""
    return f"{module}:{'main' if 'main' in parse_module(module).definitions else '*'}"


def _import_bindings(node: Import, module: _Module) -> dict[str, str]:
    """The names that an import statement binds, and what they stand for (as in :class:`_Module`)."""
    found = {}
    if isinstance(node, ast.Import):
        for alias in node.names:
            target = alias.name if alias.asname else alias.name.partition(".")[0]
            found[alias.asname or target] = target if _file(target) else f"={target}"
        return found
    base = resolve_name("." * node.level + (node.module or ""), module.package)
    for alias in node.names:
        target, inside = f"{base}.{alias.name}", f"{base}:{alias.name}"
        found[alias.asname or alias.name] = target if _file(target) else inside if _file(base) else f"={target}"
    return found


def _follow(meaning: str | None) -> str | None:
    """The definition behind a name that a module merely imports; a name that no module binds is from outside."""
    if not meaning or ":" not in meaning:
        return meaning
    home, _, name = meaning.partition(":")
    found = parse_module(home).bindings.get(name, f"={name}")
    return meaning if found == meaning else _follow(found)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements below a node, at any depth, including nodes that hold statements (``except``, ``case``)."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        for statement in getattr(node, name, ()):
            yield statement
            yield from _statements(statement)


def _same_scope(nodes: Iterable[ast.AST]) -> list[ast.AST]:
    """Nodes and all nodes below them in the same scope, in the order of the text.

    The insides of functions, classes and comprehensions are other scopes.
    """
    found, waiting = [], [*nodes][::-1]
    while waiting:
        node = waiting.pop()
        found.append(node)
        if isinstance(node, Comprehension):  # `:=` binds outside of it
            waiting += [part.target for part in ast.walk(node) if isinstance(part, ast.NamedExpr)][::-1]
        elif not isinstance(node, Function | ast.ClassDef | ast.Lambda | ast.Name | ast.Constant):
            waiting += [*ast.iter_child_nodes(node)][::-1]
    return found


def _bound_names(scope: Iterable[ast.AST]) -> list[str]:
    """The names that the nodes of one scope (:func:`_same_scope`) bind, in order."""
    found: dict[str, None] = {}
    for node in scope:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            found[node.id] = None
        elif isinstance(node, Function | ast.ClassDef | ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            found[node.name] = None
    return list(found)


class _Reader:
    """Turns one definition of a module into tokens: a function, a constant, or a class with its methods.

    ``names`` says what each name stands for at the present place: None for a local variable, else as in
    :class:`_Module`. The method ``read_call`` reads nodes of the class ``ast.Call``, and so on.
    """

    def __init__(self, module: _Module, name: str) -> None:
        self.module, self.name = module, name
        self.definition = Definition()
        self.methods: dict[str, Definition] = {}
        self.names: ChainMap[str, str | None] = ChainMap(dict(module.bindings))

    def emit(self, *tokens: Token) -> None:
        self.definition.tokens += tokens

    def resolve(self, node: ast.expr) -> str | None:
        """The module, definition or outside name that a dotted expression stands for; None for any other value."""
        if isinstance(node, ast.Name):
            return _follow(self.names.get(node.id, f"={node.id}"))
        if isinstance(node, ast.Attribute) and (base := self.resolve(node.value)):
            inside = f"{base}.{node.attr}"
            if base.startswith("="):
                return inside
            if ":" not in base:
                return _follow(inside if _file(inside) else parse_module(base).bindings.get(node.attr))
        return None

    def refer(self, meaning: str) -> None:
        """Emit a token for what a name stands for. A module that is used as a value counts with all that it does."""
        home, _, name = meaning.partition(":")
        if meaning.startswith("="):
            self.emit(meaning)
        elif home in WITHOUT_EFFECT:
            self.emit(f"says {name}")
        else:
            self.emit(Use(meaning if name else _whole(home)))

    def define(self, statement: ast.stmt) -> None:
        """Read the top-level statement that binds this definition; the definition's own name does not count."""
        if isinstance(statement, ast.ClassDef):
            self.read_class(statement)
        elif isinstance(statement, Function):
            self.read_function(statement)
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            places = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
            self.emit(f"={places.index(self.name)}")
            self.read(statement.value)
        else:
            self.read(statement)

    def read(self, *nodes: ast.AST) -> None:
        """Read nodes and all below them, except import lines (their scope knows what they bind) and docstrings."""
        for node in nodes:
            if not isinstance(node, Import) and not _is_docstring(node):
                getattr(self, f"read_{type(node).__name__.lower()}", self.read_fields)(node)

    def read_fields(self, node: ast.AST) -> None:
        """Read a node of a class without a rule of its own."""
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

    def read_name(self, node: ast.Name | ast.Attribute) -> None:
        if meaning := self.resolve(node):
            self.refer(meaning)
        elif isinstance(node, ast.Name):
            self.emit(f"local {node.id}")
        else:
            self.read(node.value)
            self.emit(Member(node.attr))
            if isinstance(node.ctx, ast.Store | ast.Del):
                self.definition.fields.add(node.attr)

    read_attribute = read_name

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
        if name in {"add_argument", "add_parser", "add_subparsers"} or meaning == "=argparse.ArgumentParser":
            node = ast.Call(node.func, node.args, [one for one in node.keywords if one.arg not in HELP])
        self.read_fields(node)

    def read_annassign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.read(ast.Assign(targets=[node.target], value=node.value))

    def read_arg(self, node: ast.arg) -> None:
        self.emit(node.arg)

    def read_comprehension_scope(self, node: Comprehension) -> None:
        first, *others = node.generators
        self.emit(f"({type(node).__name__} {first.is_async}")
        self.read(first.iter)  # outside the scope
        targets = _same_scope(part.target for part in node.generators)
        self.names = self.names.new_child(dict.fromkeys(_bound_names(targets)))
        self.read(first.target, *first.ifs, *others)
        self.emit("value")
        self.read(*((node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)))
        self.names = self.names.parents
        self.emit(")")

    read_listcomp = read_setcomp = read_dictcomp = read_generatorexp = read_comprehension_scope

    def read_functiondef(self, node: Function) -> None:
        """Read a function inside another one; its name is a local variable."""
        self.emit(f"local {node.name}")
        self.read_function(node)

    read_asyncfunctiondef = read_functiondef

    def read_function(self, node: Function | ast.Lambda) -> None:
        """Read a function without its name, docstring and annotations."""
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        self.emit(f"({type(node).__name__}")
        self.read(*getattr(node, "decorator_list", ()), node.args)
        parameters = [part.arg for part in ast.iter_child_nodes(node.args) if isinstance(part, ast.arg)]
        inside = _same_scope(body)
        scope: dict[str, str | None] = dict.fromkeys([*parameters, *_bound_names(inside)])
        for part in inside:
            if isinstance(part, Import):
                scope |= _import_bindings(part, self.module)
        for part in inside:
            if isinstance(part, ast.Global | ast.Nonlocal):
                scope = {name: meaning for name, meaning in scope.items() if name not in part.names}
        self.names = self.names.new_child(scope)
        self.read(*body)
        self.names = self.names.parents
        self.emit(")")

    read_lambda = read_function

    def read_classdef(self, node: ast.ClassDef) -> None:
        """Read a class inside a function: its name is a local variable, and its methods keep their names."""
        self.definition.fields |= {part.name for part in node.body if isinstance(part, Function)}
        self.read_fields(node)

    def read_class(self, node: ast.ClassDef) -> None:
        """Read a class without its name: bases, fields with their types, and methods as definitions of their own."""
        self.emit("(ClassDef")
        for base in node.bases:
            meaning = self.resolve(base.value if isinstance(base, ast.Subscript) else base) or "?"
            if ":" in meaning:
                self.definition.bases.append(meaning)
            elif meaning.removeprefix("=") not in HARMLESS_BASES:
                self.definition.fixed = True
        self.read(*node.decorator_list, *node.bases, *node.keywords)
        for statement in node.body:
            if isinstance(statement, Function):
                self.read_method(statement)
                continue
            names = _bound_names(_same_scope([statement]))
            self.definition.fields |= set(names)
            if isinstance(statement, ast.AnnAssign):
                self.emit(*(f"field {name}" for name in names))
                self.read(statement.annotation, *filter(None, [statement.value]))
            else:
                self.read(statement)
        self.emit(")")

    def read_method(self, node: Function) -> None:
        """Read a method as a definition of its own; a second one of the same name (a setter) joins the first."""
        name = f"{self.name}.{node.name}"
        reader = _Reader(self.module, name)
        reader.definition = self.methods.setdefault(name, reader.definition)
        reader.read_function(node)
        key = f"{self.module.name}:{name}"
        self.definition.methods[node.name] = key
        self.emit(Member(node.name), Use(key))
