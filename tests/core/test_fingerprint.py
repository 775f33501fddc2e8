"""The fingerprint of code: what it does changes it, what it is called and where it lies does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from m1.core import fingerprint as module

PACKAGE = module.PACKAGE
FILES = {
    "__init__.py": "",
    "top.py": '"""Top."""\nfrom m1 import middle\nfrom m1.says import tell\n\n\ndef main(x: int) -> int:\n'
    '    """Run."""\n'
    '    tell(f"at {x}")\n    return middle.go(x)  # so\n',
    "middle.py": "from dataclasses import dataclass\n\n\ndef go(x):\n    from m1.deep.lowest import LIMIT\n\n"
    "    return Box(x, LIMIT).size() + helper([x for x in range(x)])\n\n\ndef helper(items):\n "
    "   return len(items)\n\n\n"
    "@dataclass\nclass Box:\n    width: int\n    height: int = 1\n\n    def size(self):\n      "
    "  return self.width * self.height\n\n"
    "    def apart(self):\n        return other(self)\n\n\ndef other(one):\n    return "
    "one\n\n\ndef unused():\n    return 1\n",
    "deep/__init__.py": "",
    "deep/lowest.py": 'LIMIT = 1\n"""How far."""\n',
    "says.py": "def tell(text):\n    print(text)\n",
}


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of its own in place of m1, to edit."""
    write(tmp_path / "m1", FILES)
    monkeypatch.setattr(module, "PACKAGE", tmp_path / "m1")
    monkeypatch.setattr(module, "WITHOUT_EFFECT", {"m1.says"})
    yield tmp_path / "m1"
    module._kept.cache_clear()


def fresh(name: str = "m1.top") -> str:
    module._kept.cache_clear()
    return module.fingerprint(name)


def edit(package: Path, file: str, old: str, new: str) -> None:
    text = (package / file).read_text()
    assert old in text
    (package / file).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("top.py", "  # so", "  # otherwise"),
        ("top.py", '"""Top."""', '"""Another."""'),
        ("top.py", '    """Run."""\n', ""),
        ("top.py", "middle.go(x)", "(middle\n        .go( x, ))"),
        ("top.py", "x: int) -> int", "x)"),
        ("top.py", 'f"at {x}"', 'f"now at {x}", "or so"'),
        ("top.py", "from m1 import middle", "import m1.middle as middle"),
        ("top.py", "from m1 import middle", "import os\nfrom m1 import middle"),
        ("deep/lowest.py", '"""How far."""', '"""How near."""'),
        ("deep/lowest.py", "LIMIT = 1", "LIMIT: int = 1"),
        ("middle.py", "def unused():\n    return 1", "def unused():\n    return 2"),
        ("says.py", "print(text)", "print(text, text)"),
    ],
)
def test_looks_and_messages_do_not_matter(package: Path, file: str, old: str, new: str) -> None:
    before = fresh()
    edit(package, file, old, new)
    assert fresh() == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("top.py", "go(x)", "go(-x)"),
        ("top.py", "return middle", "return 'text' and middle"),
        ("top.py", "    return", "    x = 1\n    return"),
        ("middle.py", "self.width * self.height", "self.width + self.height"),
        ("middle.py", "width * self", "height * self"),
        ("middle.py", "height: int = 1", "height: int = 2"),
        ("middle.py", "height: int = 1", "height: float = 1"),
        ("middle.py", "width: int", "breadth: int"),
        ("middle.py", "@dataclass", "@dataclass(frozen=True)"),
        ("middle.py", "helper([", "len(["),
        ("middle.py", "return one", "return not one"),  # by a method that the class has
        ("middle.py", "import dataclass", "import field as dataclass"),
        ("deep/lowest.py", "LIMIT = 1", "LIMIT = 2"),
        ("deep/lowest.py", "LIMIT = 1", "LIMIT = 1.0"),
        ("deep/__init__.py", "", "print('imported')\n"),
    ],
)
def test_behaviour_does(package: Path, file: str, old: str, new: str) -> None:
    before = fresh()
    edit(package, file, old, new)
    assert fresh() != before


def test_moved_and_renamed(package: Path) -> None:
    """A module moves, and functions, a method, a class and a constant get other names; a field keeps its own."""
    before = fresh()
    (package / "middle.py").rename(package / "deep/between.py")
    edit(package, "top.py", "from m1 import middle", "from m1.deep import between as middle")
    for old, new in (("go(", "walk("), ("helper", "count"), ("Box", "Crate"), ("size", "area"), ("LIMIT", "MOST")):
        for path in package.rglob("*.py"):
            path.write_text(path.read_text().replace(old, new))
    assert fresh() == before


def test_a_method_that_is_a_field_elsewhere_keeps_its_name(package: Path) -> None:
    edit(package, "middle.py", "def other(one):\n    return one", "def other(one):\n    return setattr(one, 'size', 1)")
    before = fresh()
    for path in package.rglob("*.py"):
        path.write_text(path.read_text().replace("def size", "def area").replace(".size()", ".area()"))
    assert fresh() != before


def test_names_of_one_scope_are_not_those_of_another(package: Path) -> None:
    """A local variable called as a function of the module is none of its uses; nor is what a comprehension binds seen
    outside."""
    edit(
        package,
        "middle.py",
        "def helper(items):\n    return len(items)",
        "def helper(unused):\n    return len([unused for unused in unused])",
    )
    before = fresh()
    edit(package, "middle.py", "def unused():\n    return 1", "def unused():\n    return 2")
    assert fresh() == before
    edit(package, "middle.py", "len([unused for unused in unused])", "len([other for other in unused]) + unused2()")
    edit(package, "middle.py", "def unused():", "def unused2():")
    one = fresh()
    edit(package, "middle.py", "return 2", "return 3")
    assert fresh() != one


def test_recursion_ends(package: Path) -> None:
    edit(package, "middle.py", "return one", "return go(one)")
    before = fresh()
    edit(package, "middle.py", "return go(one)", "return go(2 * one)")
    assert fresh() != before


def test_a_module_that_is_started_by_name_counts(package: Path) -> None:
    write(package, {"program.py": "def main():\n    return 1\n"})
    edit(package, "top.py", "return middle.go(x)", "return run('m1.program')")
    before = fresh()
    edit(package, "program.py", "return 1", "return 2")
    assert fresh() != before


def test_what_was_computed_is_kept_until_a_source_changes(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fresh()
    with monkeypatch.context() as patch:
        patch.setattr(module, "reachable", lambda *_: pytest.fail("computed again"))
        assert fresh() == before
    (package / "__pycache__/fingerprints.json").write_text("{")
    assert fresh() == before


def test_a_module_that_is_not_there(package: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"no module m1\.nowhere"):
        module.fingerprint("m1.nowhere")
