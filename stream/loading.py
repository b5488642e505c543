"""Finds the file of a processor by its name in the configuration."""

import difflib
import importlib
import importlib.util
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType

from stream.errors import ConfigError


def load(name: str, base: Path) -> ModuleType:
    """The module of `[processors.NAME]`, which has a `build`.

    Looked for, in this order: `processors/NAME.py` in `base` (beside stream.toml), the built-in ones, and, if the name
    has a dot, a module of that name. Raises ConfigError, naming what was looked for where, or what is wrong in it."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"processors.{name}: a processor's name is made of letters, digits, _, - and dots")
    found = next((file for file in _places(name, base) if file.is_file()), None)
    module = _from_file(name, found) if found else _from_module(name, base)
    if not callable(getattr(module, "build", None)):
        raise ConfigError(f"processors.{name}: {module.__file__} has no function build(app, settings)")
    return module


def built_in() -> Path:
    """The folder of the built-in processors: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "processors"
    return inside if inside.is_dir() else package.parent / "processors"


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


def _places(name: str, base: Path) -> tuple[Path, ...]:
    return () if "." in name else (base / "processors" / f"{name}.py", built_in() / f"{name}.py")


def _from_file(name: str, file: Path) -> ModuleType:
    full = f"processors.{name}"
    loaded = sys.modules.get(full)
    if loaded is not None and loaded.__file__ and Path(loaded.__file__).samefile(file):
        return loaded
    spec = importlib.util.spec_from_file_location(full, file)
    assert spec is not None and spec.loader is not None, f"{file} is a Python file"
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module  # msgspec looks up the annotations of its structs there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[full]
        raise ConfigError(f"processors.{name}: {_place(error, file)}: {type(error).__name__}: {error}") from error
    return module


def _from_module(name: str, base: Path) -> ModuleType:
    if "." not in name:
        mine, ours = _places(name, base)
        names = sorted(file.stem for folder in (mine.parent, ours.parent) for file in folder.glob("[a-z]*.py"))
        near = difflib.get_close_matches(name, names, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"processors.{name}: neither {mine} nor {ours} exists.{hint}")
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise ConfigError(
            f"processors.{name}: the module {name} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _place(error: Exception, file: Path) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f"{file}, line {lines[-1]}" if lines else str(file)
