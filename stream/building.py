"""Building: from the configuration to processors and connectors, by the names in it."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct, structs

from stream import loading, purpose, toml
from stream.config import Config, LaneConfig
from stream.connector import Connector, Limits
from stream.core.bucket import Rate
from stream.errors import ConfigError
from stream.processor import Processor, Projection, Reactor, Sync
from stream.purpose import ASKED
from stream.sending import Http

T = TypeVar("T", bound=Struct)


class Built(Struct, frozen=True):
    """All that a configuration names, ready to run. `files`: processor → its [processors.FILE]; `lanes`: settings of
    each sync and reactor; `limits`: of each destination, those of connectors and those that a processor opened."""

    processors: Sequence[Processor]
    files: Mapping[str, str]
    lanes: Mapping[str, LaneConfig]
    connectors: Mapping[str, Connector]
    limits: Mapping[str, Limits]

    @property
    def projections(self) -> list[Projection]:
        return [one for one in self.processors if isinstance(one, Projection)]

    @property
    def syncs(self) -> list[Sync]:
        return [one for one in self.processors if isinstance(one, Sync)]

    @property
    def reactors(self) -> list[Reactor]:
        return [one for one in self.processors if isinstance(one, Reactor)]

    def some(self, names: Collection[str]) -> "Built":
        """Only what these names mean: a file (`audiences`: all that it builds), or one processor (`audiences.crm`).
        Raises ConfigError for a name that means nothing."""
        if unknown := set(names) - set(self.files) - set(self.files.values()):
            there = ", ".join(dict.fromkeys([*self.files.values(), *self.files]))
            raise ConfigError(f"no [processors.{min(unknown)}]; there are: {there}")
        chosen = [one for one in self.processors if one.name in names or self.files[one.name] in names]
        return structs.replace(self, processors=chosen)


class Setting:
    """What a processor's build(app, settings) is given as `app`."""

    def __init__(self, config: Config, connectors: Mapping[str, Connector]) -> None:
        self.config = config
        self.connectors = connectors
        self.http = Http()
        self.usual_lanes = LaneConfig()  # of the file that is being built
        self.found_lanes: dict[str, LaneConfig] = {}
        self.found_limits: dict[str, Limits] = {}

    def lanes(self, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Takes the settings that every sync and reactor has out of the table of the one called `name`; the rest."""
        path = f"processors.{name}"
        self.found_lanes[name], rest = _split(path, toml.table(path, settings), self.usual_lanes)
        return rest

    def destination(self, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Opens a destination for a processor that talks to a URL of its own: takes its limits out of the table of the
        processor called `name`; the rest. Its requests name this destination. `concurrency` is that of its lanes."""
        at_once = self.found_lanes.get(name, self.usual_lanes).concurrency
        self.found_limits[name], rest = _split(f"processors.{name}", settings, Limits(concurrency=at_once))
        return rest

    def destinations(
        self, file: str, settings: Mapping[str, Any], kind: type[T]
    ) -> tuple[list[tuple[str, Connector, T]], dict[str, Any]]:
        """Of a file with one sync for each of `destinations`: name of the sync, connector, and settings of its own
        (`[processors.FILE.DESTINATION]`); and the rest of the settings, which are the file's."""
        path, rest = f"processors.{file}", dict(settings)
        names = toml.texts(f"{path}.destinations", rest.pop("destinations", ()))
        found = []
        for name in names:
            own = self.lanes(f"{file}.{name}", rest.pop(name, {}))
            connector = self.connector(name, f"{path}.destinations")
            found.append((f"{file}.{name}", connector, toml.struct(f"{path}.{name}", own, kind)))
        return found, rest

    def purposes(self, path: str, names: Iterable[str]) -> None:
        """Raises ConfigError for a purpose that is not declared."""
        known = {"internal", *self.config.purposes}
        for name in names:
            if name not in known:
                raise ConfigError(
                    f'{path}: there is no [purposes.{name}], which says what consent sending for "{name}" needs;'
                    f" there are: {', '.join(sorted(known))}"
                )

    def connector(self, name: str, path: str) -> Connector:
        """The connector of this name. Raises ConfigError that says where it was named."""
        if name not in self.connectors:
            known = ", ".join(self.connectors) or "none"
            raise ConfigError(f"{path}: there is no [connectors.{name}]; there are: {known}")
        return self.connectors[name]


def build(config: Config) -> Built:
    """Everything that the configuration names. Raises ConfigError."""
    limits: dict[str, Limits] = {}
    connectors = {name: _connector(name, table, config, limits) for name, table in config.connectors.items()}
    setting = Setting(config, connectors)
    by_file = {name: _built(name, setting, table) for name, table in config.processors.items()}
    processors = [one for found in by_file.values() for one in found]
    files = {one.name: name for name, found in by_file.items() for one in found}
    names = [one.name for one in processors]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"two processors are called {min(twice)}")
    built = Built(processors, files, setting.found_lanes, connectors, {**limits, **setting.found_limits})
    for one in processors:
        if not isinstance(one, Projection):
            setting.purposes(one.name, one.purposes if isinstance(one, Reactor) else [one.purpose])
    if problems := [*_problems(built), *_limit_problems(built), *purpose.problems(config.purposes)]:
        raise ConfigError("; ".join(problems))
    return built


def _connector(name: str, table: Mapping[str, Any], config: Config, limits: dict[str, Limits]) -> Connector:
    path = f"connectors.{name}"
    settings = dict(table)
    kind = settings.pop("connector", name)
    if not isinstance(kind, str):
        raise ConfigError(f"{path}.connector must be the name of a connector's file, such as webhook")
    module = loading.connector(kind, name, config.folder)
    _, rest = _split(path, settings, Limits())
    try:
        found: Connector = module.build(name, rest)
    except ConfigError:
        raise
    except Exception as error:  # an author's bug
        raise ConfigError(f"{path}: build() in {module.__file__}: {type(error).__name__}: {error}") from error
    limits[name], _ = _split(path, settings, found.limits)
    return found


def _built(name: str, setting: Setting, table: Mapping[str, Any]) -> list[Processor]:
    module = loading.load(name, setting.config.folder)
    given = sorted(table.keys() & set(LaneConfig.__struct_fields__))
    lanes, rest = _split(f"processors.{name}", table, LaneConfig())
    setting.usual_lanes = lanes
    try:
        found: list[Processor] = list(module.build(setting, rest))
    except ConfigError:
        raise
    except Exception as error:  # an author's bug
        raise ConfigError(
            f"processors.{name}: build() in {module.__file__}: {type(error).__name__}: {error}"
        ) from error
    for one in found:
        if not isinstance(one, Projection):
            setting.found_lanes.setdefault(one.name, lanes)
    if given and all(isinstance(one, Projection) for one in found):
        raise ConfigError(f"processors.{name}.{given[0]} is a setting of syncs and reactors, and this is none")
    return found


def _split(path: str, table: Mapping[str, Any], defaults: Any) -> tuple[Any, dict[str, Any]]:
    """The settings of one kind in a table, over their defaults; and the rest of the table."""
    names = set(defaults.__struct_fields__)
    given = {key: value for key, value in table.items() if key in names}
    found = toml.struct(path, given, type(defaults))
    mixed = structs.replace(defaults, **{key: getattr(found, key) for key in given})
    return mixed, {key: value for key, value in table.items() if key not in names}


def _problems(built: Built) -> Iterator[str]:
    acting: list[Sync | Reactor] = [*built.syncs, *built.reactors]
    missing = [name for name in ASKED if name not in {one.name for one in built.projections}]
    if acting and missing:
        yield (
            f"processors: {acting[0].name} sends, and nothing may be sent without {', '.join(missing)}: add"
            f" [processors.{missing[0]}]"
        )


def _limit_problems(built: Built) -> Iterator[str]:
    for name, limits in built.limits.items():
        for rate in limits.rates:
            try:
                Rate.parse(rate)
            except ConfigError as error:
                yield f"{'connectors' if name in built.connectors else 'processors'}.{name}.rates: {error}"
