"""Finds the file of a processor or of a connector by its name in the configuration."""

import difflib
import importlib
import importlib.util
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType

from msgspec import Struct

from stream.errors import ConfigError

PROCESSORS, CONNECTORS = "processors", "connectors"


def load(name: str, base: Path) -> ModuleType:
    """The module of `[processors.NAME]`, which has a `build`.

    Looked for, in this order: `processors/NAME.py` in `base` (beside stream.toml), the built-in ones, and, if the name
    has a dot, a module of that name. Raises ConfigError, naming what was looked for where, or what is wrong in it."""
    return _Wanted(f"processors.{name}", PROCESSORS, name, base).module("build(app, settings)")


def connector(file: str, name: str, base: Path) -> ModuleType:
    """The module of `[connectors.NAME]` with `connector = FILE`, which has a `build`. Looked for as processors are, in
    `connectors/`."""
    path = f"connectors.{name}" if file == name else f"connectors.{name}.connector"
    return _Wanted(path, CONNECTORS, file, base).module("build(name, settings)")


def built_in(folder: str = PROCESSORS) -> Path:
    """Where the built-in ones are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / folder
    return inside if inside.is_dir() else package.parent / folder


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


class _Wanted(Struct, frozen=True):
    """One file that the configuration names at `path`."""

    path: str
    folder: str
    name: str
    base: Path

    def module(self, signature: str) -> ModuleType:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"{self.path}: a {self.folder[:-1]}'s name is made of letters, digits, _, - and dots")
        found = next((file for file in self._places() if file.is_file()), None)
        module = self._from_file(found) if found else self._from_module()
        if not callable(getattr(module, "build", None)):
            raise ConfigError(f"{self.path}: {module.__file__} has no function {signature}")
        return module

    def _places(self) -> tuple[Path, ...]:
        if "." in self.name:
            return ()
        return tuple(folder / f"{self.name}.py" for folder in (self.base / self.folder, built_in(self.folder)))

    def _from_file(self, file: Path) -> ModuleType:
        full = f"{self.folder}.{self.name}"
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
            raise ConfigError(f"{self.path}: {_place(error, file)}: {type(error).__name__}: {error}") from error
        return module

    def _from_module(self) -> ModuleType:
        if "." not in self.name:
            mine, ours = self._places()
            names = sorted(file.stem for folder in (mine.parent, ours.parent) for file in folder.glob("[a-z]*.py"))
            near = difflib.get_close_matches(self.name, names, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{self.path}: neither {mine} nor {ours} exists.{hint}")
        try:
            return importlib.import_module(self.name)
        except Exception as error:
            raise ConfigError(
                f"{self.path}: the module {self.name} cannot be imported: {type(error).__name__}: {error}"
            ) from error


def _place(error: Exception, file: Path) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f"{file}, line {lines[-1]}" if lines else str(file)
