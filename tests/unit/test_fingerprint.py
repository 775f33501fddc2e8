"""The fingerprint of code: behaviour changes it, looks do not, and no import is missed."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from m1 import fingerprint as module

PACKAGE = module.PACKAGE
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for path in PACKAGE.rglob("*.py")
)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of its own in place of m1, to edit."""
    files = {
        "__init__.py": "",
        "top.py": '"""Top."""\nfrom m1 import middle\n\n\ndef run(x):\n    """Run."""\n    return middle.go(x)  # so\n',
        "middle.py": "def go(x):\n    from m1.deep.lowest import LIMIT\n\n    return x + LIMIT\n",
        "deep/__init__.py": "",
        "deep/lowest.py": 'LIMIT = 1\n"""How far."""\n',
        "deep/beside.py": "from .lowest import LIMIT\nfrom . import sibling\nfrom .. import middle as other\n",
        "deep/sibling.py": "X = 1\n",
        "cycle.py": "import m1.cycle\nimport m1.deep.lowest as lowest\nif False:\n    import m1.top\n",
        "alone.py": "import os\nfrom os import path\nimport m1x\n",
    }
    root = tmp_path / "m1"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(module, "PACKAGE", root)
    module._tree.cache_clear()
    yield root
    module._tree.cache_clear()


def fresh(name: str) -> str:
    module._tree.cache_clear()
    return module.fingerprint(name)


@pytest.mark.parametrize(
    ("name", "imports"),
    [
        ("m1.top", {"m1", "m1.top", "m1.middle", "m1.deep", "m1.deep.lowest"}),
        ("m1.deep.beside", {"m1", "m1.deep", "m1.deep.beside", "m1.deep.lowest", "m1.deep.sibling", "m1.middle"}),
        ("m1.cycle", {"m1", "m1.cycle", "m1.deep", "m1.deep.lowest", "m1.top", "m1.middle"}),
        ("m1.alone", {"m1", "m1.alone"}),
    ],
)
def test_imports_are_followed(package: Path, name: str, imports: set[str]) -> None:
    assert module.dependencies(name) == imports


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("top.py", "  # so", "  # otherwise"),
        ("top.py", '"""Top."""', '"""Another."""'),
        ("top.py", '    """Run."""\n', ""),
        ("top.py", "middle.go(x)", "(middle\n        .go( x, ))"),
        ("deep/lowest.py", '"""How far."""', '"""How near."""'),
        ("deep/sibling.py", "X = 1", "X = 2"),  # not imported by top
    ],
)
def test_looks_do_not_matter(package: Path, file: str, old: str, new: str) -> None:
    before = fresh("m1.top")
    text = (package / file).read_text()
    assert old in text
    (package / file).write_text(text.replace(old, new))
    assert fresh("m1.top") == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("top.py", "go(x)", "go(-x)"),
        ("middle.py", "x + LIMIT", "x - LIMIT"),
        ("deep/lowest.py", "LIMIT = 1", "LIMIT = 2"),
        ("deep/lowest.py", "LIMIT = 1", "LIMIT = 1.0"),
        ("deep/__init__.py", "", "import sys"),
        ("top.py", "return middle", "return 'text' and middle"),
    ],
)
def test_behaviour_does(package: Path, file: str, old: str, new: str) -> None:
    before = fresh("m1.top")
    text = (package / file).read_text()
    (package / file).write_text(text.replace(old, new) if old else new)
    assert fresh("m1.top") != before


def test_modules_that_only_say_things_do_not_matter(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fresh("m1.top")
    monkeypatch.setattr(module, "WITHOUT_EFFECT", {"m1.middle"})
    without = fresh("m1.top")
    (package / "middle.py").write_text("def go(x):\n    from m1.deep.lowest import LIMIT\n\n    return x - LIMIT\n")
    assert before != without == fresh("m1.top")


def test_they_exist_and_import_nothing_else() -> None:
    """So nothing that matters is hidden behind them."""
    for name in module.WITHOUT_EFFECT:
        assert module.dependencies(name) <= {"m1", *module.WITHOUT_EFFECT}


def test_a_module_that_is_not_there(package: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"no module m1\.nowhere"):
        module.fingerprint("m1.nowhere")


def test_no_import_of_the_package_is_missed() -> None:
    """What importing each module loads of the package, in one process of its own, is among its dependencies."""
    code = f"""
import importlib, json, sys
found = {{}}
for name in {MODULES!r}:
    for loaded in [other for other in sys.modules if other.split(".")[0] == "m1"]:
        del sys.modules[loaded]
    importlib.import_module(name)
    found[name] = sorted(other for other in sys.modules if other.split(".")[0] == "m1")
print(json.dumps(found))
"""
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent), "MPLBACKEND": "agg"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) > 40
    for name, loaded in found.items():
        assert set(loaded) <= module.dependencies(name), name


def test_no_import_inside_a_function_is_missed() -> None:
    """Each statement that imports from the package, wherever it stands, names a dependency; and nothing imports by a computed name."""
    for name in MODULES:
        source = importlib.util.find_spec(name).origin
        tree = ast.parse(Path(source).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                inside = {alias.name for alias in node.names if alias.name.split(".")[0] == "m1"}
                assert inside <= module.dependencies(name), (name, node.lineno)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}, line {node.lineno}: relative imports are not this package's style"
                if (node.module or "").split(".")[0] == "m1":
                    assert node.module in module.dependencies(name), (name, node.lineno)
            elif isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                assert called not in {"import_module", "__import__", "run_module"}, f"{name}, line {node.lineno}: not seen"


@pytest.mark.parametrize(
    "name", ["m1.screen.attempt", "m1.screen.hard", "m1.distill.traces", "m1.distill.draw", "m1.select.domains", "m1.select.sample"]
)
def test_curation_does_not_depend_on_scoring(name: str) -> None:
    assert not [other for other in module.dependencies(name) if other.startswith(("m1.score", "m1.report"))]


@pytest.mark.parametrize("name", ["m1.train.sft", "m1.infer.sweep", "m1.infer.answer"])
def test_training_and_inference_do_not_depend_on_scoring_or_curation(name: str) -> None:
    apart = (
        "m1.score",
        "m1.report",
        "m1.curation",
        "m1.answers",
        "m1.distill",
        "m1.select",
        "m1.pools",
        "m1.world",
        "m1.config",
        "m1.wiring",
    )
    assert not [other for other in module.dependencies(name) if other.startswith(apart)]
