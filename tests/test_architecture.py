"""The rules of the house that a machine can hold: where imports point, what the core may do, how large things get."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    file for folder in ("stream", "processors", "connectors", "examples") for file in (ROOT / folder).rglob("*.py")
)

LINES, STATEMENT_LINES, PARAMETERS = 250, 30, 5
EXCEPTIONS: dict[str, str] = {}
"""`file` or `file:function` → why it may be larger. Short, or the numbers above are wrong."""

ONE_PLACE = {"aiokafka": "stream/log/kafka.py", "asyncpg": "stream/store/postgres.py"}
NOT_IN_THE_CORE = {
    "asyncio",
    "time",
    "aiohttp",
    "aiokafka",
    "sqlite3",
    "random",
    "secrets",
    "os",
    "socket",
    "threading",
}


def test_imports_point_down():
    # A process of its own: it configures logging, and turns off the loggers that are there.
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(cache_dir=None))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_picture_of_imports_is_what_is_checked():
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [found] = [one["layers"] for one in layers if one["type"] == "layers"]
    place = {module: number for number, layer in enumerate(found) for module in re.findall(r"\w+", layer)}
    picture = (ROOT / "CONTRIBUTING.md").read_text().split("```")[1]
    groups = [re.findall(r"\w+", group) for group in picture.split("→")]
    assert {name for group in groups for name in group} <= place.keys() | {"headers"}
    for above, below in pairwise(groups):
        assert max(place[name] for name in above) < min(place[name] for name in below), (above, below)


def test_the_core_never_waits_and_has_no_clock_network_or_disk():
    core = [file for file in FILES if file.is_relative_to(ROOT / "stream" / "core")]
    assert core
    for file in core:
        for node in ast.walk(_tree(file)):
            assert not isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith), _at(
                file, node
            )
        assert not _imported(file) & NOT_IN_THE_CORE, file


def test_the_untyped_driver_of_a_server_is_imported_in_one_file():
    for file in FILES:
        for library in _imported(file) & ONE_PLACE.keys():
            assert _name(file) == ONE_PLACE[library], f"{library} belongs in {ONE_PLACE[library]}"


def test_a_processor_imports_nothing_of_ours_but_stream():
    for file in FILES:
        if not file.is_relative_to(ROOT / "stream"):
            assert not _imported(file) & {"processors", "connectors", "tests", "benchmarks"}, file


def test_no_module_has_a_name_that_says_nothing():
    nothing = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager", "service", "impl"}
    assert not [file for file in FILES if set(file.with_suffix("").parts) & nothing]


def test_no_test_replaces_a_part_by_a_mock():
    for file in sorted((ROOT / "tests").rglob("*.py")):
        assert "mock" not in {name for node in ast.walk(_tree(file)) for name in _names(node)}, file


@pytest.mark.parametrize("file", FILES, ids=lambda file: _name(file))
def test_files_functions_and_parameter_lists_stay_small(file):
    too_large = {what: why for what, why in _too_large(file) if what not in EXCEPTIONS}
    assert not too_large


def test_every_exception_is_still_needed():
    assert EXCEPTIONS.keys() <= {what for file in FILES for what, _ in _too_large(file)}


def _too_large(file: Path) -> Iterator[tuple[str, str]]:
    lines = len(file.read_text().splitlines())
    if lines > LINES:
        yield _name(file), f"{lines} lines"
    for node in ast.walk(_tree(file)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        lines = (node.end_lineno or 0) - node.lineno + 1 - _docstring_lines(node)
        if lines > STATEMENT_LINES:
            yield f"{_name(file)}:{node.name}", f"{lines} lines"
        arguments = node.args
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        count = len([name for name in names if name not in ("self", "cls")])
        if count > PARAMETERS and not _is_command(node):
            yield f"{_name(file)}:{node.name}", f"{count} parameters"


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    if ast.get_docstring(node) is None:
        return 0
    return (node.body[0].end_lineno or 0) - node.body[0].lineno + 1


def _is_command(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """The parameters of a command are its options: there are as many as its user needs."""
    return any("command" in _names(part) for decorator in node.decorator_list for part in ast.walk(decorator))


def _imported(file: Path) -> set[str]:
    return {
        name.partition(".")[0]
        for node in ast.walk(_tree(file))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }


def _names(node: ast.AST) -> set[str]:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return {name}
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            parts = [alias.name for alias in names]
            return {word for part in (*parts, getattr(node, "module", None) or "") for word in part.split(".")}
        case _:
            return set()


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), str(file))


def _name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def _at(file: Path, node: ast.AST) -> str:
    return f"{_name(file)}:{getattr(node, 'lineno', '?')}"
