"""What the import contracts (`.importlinter`) cannot say about the source tree.

RULE: each test reads the source as text or syntax tree; nothing of the product is imported.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ROOT / "proxy" / "toolgate"
FILES = sorted(PRODUCT.rglob("*.py"))

LINES_PER_FILE = 500
LINES_PER_FUNCTION = 50
BANNED_MODULES = {"utils", "util", "common", "helpers", "helper", "misc", "types", "base"}
BANNED_ENDINGS = ("Manager", "Handler", "Helper", "Util", "Service", "Processor", "Wrapper", "Impl", "Data")

# Who may import what, by the path under proxy/toolgate. A library that is not here has no home yet.
HOMES = {
    "aiohttp": ("listeners",),
    "cedarpy": ("core", "load"),
    "click": ("cli",),
    "cryptography": ("auth", "core/mask", "keys"),
    "httptools": ("upstream",),
    "jiter": ("core", "listeners"),
    "jsonpath": ("load",),
    "jsonschema_rs": ("core", "load"),
    "jwt": ("auth",),
    "orjson": ("",),
    "prometheus_client": ("metrics",),
    "pydantic": ("load", "settings"),
    "pydantic_core": ("load", "settings"),
    "pytest": ("testing",),
    "redis": ("ledger",),
    "rfc8785": ("core",),
    "rich": ("cli",),
    "ryaml": ("load",),
    "structlog": ("log",),
    "uvloop": ("app",),
    "watchfiles": ("reload",),
    "yaml": ("load",),
}
PURE = {"cedarpy", "cryptography", "jiter", "jsonschema_rs", "orjson", "rfc8785"}


def place(path: Path) -> str:
    return path.relative_to(PRODUCT).with_suffix("").as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        match node:
            case ast.Import(names=names):
                yield from (name.name.split(".")[0] for name in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.split(".")[0]
            case _:
                pass


def third_party(path: Path) -> set[str]:
    return {name for name in imported(path) if name != "toolgate" and name not in sys.stdlib_module_names}


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_file_is_read_at_one_sitting(path: Path) -> None:
    """A file has at most 500 lines, a function at most 50."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    long = {f.name: n for f in functions(path) if (n := (f.end_lineno or f.lineno) - f.lineno + 1) > LINES_PER_FUNCTION}

    assert lines <= LINES_PER_FILE
    assert {} == long


@pytest.mark.parametrize("path", FILES, ids=place)
def test_names_say_what_a_thing_is(path: Path) -> None:
    """No module is a drawer, and no class is called after what it vaguely does."""
    classes = [node.name for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)]

    assert path.stem not in BANNED_MODULES
    assert [] == [name for name in classes if name.endswith(BANNED_ENDINGS)]


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_module_opens_with_what_it_is_for(path: Path) -> None:
    """Every module that holds code starts with a docstring."""
    module = tree(path)

    assert not module.body or ast.get_docstring(module)


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_library_has_a_home(path: Path) -> None:
    """A third-party library is imported only where it lives, and each has its place."""
    here = place(path)
    strangers = {
        name
        for name in third_party(path)
        if not any(here == home or here.startswith(f"{home}/" if home else "") for home in HOMES.get(name, ()))
    }

    assert set() == strangers


@pytest.mark.parametrize("path", sorted((PRODUCT / "core").rglob("*.py")), ids=place)
def test_the_core_needs_only_pure_libraries(path: Path) -> None:
    """What the core imports beside the standard library computes and does nothing else."""
    assert set() == third_party(path) - PURE


@pytest.mark.parametrize("path", FILES, ids=place)
def test_no_name_of_a_machine_is_left_in_the_source(path: Path) -> None:
    """A path of somebody's own machine does not belong in the product."""
    assert [] == re.findall(r"[\"'](?:/home/|/Users/|/root/)[^\"']*", path.read_text(encoding="utf-8"))


def test_the_source_root_is_not_a_package() -> None:
    """`proxy/` is a folder on the path: a package of that name would shadow other people's `proxy.py`."""
    assert not (ROOT / "proxy" / "__init__.py").exists()


def locked(name: str) -> dict[str, str]:
    """The pins of a lock file, each with the lines that belong to it."""
    text = (ROOT / name).read_text(encoding="utf-8")
    entries = re.findall(r"^([A-Za-z0-9._-]+)==\S+ \\\n((?: {4}.*\n?)+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", pin).lower(): rest for pin, rest in entries}


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-build.lock", "requirements-dev.lock"])
def test_a_lock_holds_digests_and_no_hosts(name: str) -> None:
    """Every pin has its digests, and nothing in the file says where it was downloaded."""
    text = (ROOT / name).read_text(encoding="utf-8")

    assert [pin for pin, rest in locked(name).items() if "--hash=sha256:" not in rest] == []
    assert re.findall(r"://|^-|^ *--(?!hash)", text, re.MULTILINE) == []


def test_the_locks_hold_what_the_project_asks_for() -> None:
    """A dependency that was added is in the locks: `make lock` was run."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.sub(r"[-_.]+", "-", re.split(r"[<>=\[; ]", asked)[0]).lower() for asked in project["dependencies"]}

    assert wanted - locked("requirements.lock").keys() == set()
    assert wanted - locked("requirements-dev.lock").keys() == set()


def _fields_of_values() -> dict[tuple[str, str], int]:
    """How many fields each NamedTuple of the product has, by its module and name."""
    return {
        (f"toolgate.{place(path).replace('/', '.')}", node.name): sum(
            isinstance(line, ast.AnnAssign) for line in node.body
        )
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "NamedTuple" for base in node.bases)
    }


def _made_without_constructor() -> Iterator[tuple[str, tuple[str, str], ast.expr]]:
    """Every `new(Class, values)`: where, the class, the values."""
    for path in FILES:
        module = tree(path)
        here = f"toolgate.{place(path).replace('/', '.')}"
        homes = {
            name.asname or name.name: node.module
            for node in ast.walk(module)
            if isinstance(node, ast.ImportFrom)
            for name in node.names
        }
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "new":
                made, values = node.args
                assert isinstance(made, ast.Name)
                yield f"{here}:{node.lineno}", (homes.get(made.id) or here, made.id), values


def test_what_is_made_without_its_constructor_has_all_its_fields() -> None:
    """`model.new` checks nothing and fills in no default: a field added to the class must be added there too."""
    fields, made = _fields_of_values(), list(_made_without_constructor())
    assert made
    for where, name, values in made:
        if isinstance(values, ast.Tuple) and not any(isinstance(each, ast.Starred) for each in values.elts):
            assert (where, fields[name]) == (where, len(values.elts))
