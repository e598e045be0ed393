"""Reads the configuration: a file, the environment, the command line. The one reader of both."""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from stoker.core.duration import seconds
from stoker.core.errors import InvalidConfig, InvalidOption, MissingExtra
from stoker.core.task import byte_size
from stoker.settings.kinds import read_kinds
from stoker.settings.sections import Section, Settings
from stoker.settings.values import Bytes, Seconds, Secret

PREFIX = "STOKER_"
FILES = ("stoker.toml", "stoker.yaml", "stoker.yml")


class Loaded(msgspec.Struct, frozen=True):
    """Settings, and where each key that is not a default came from."""

    settings: Settings
    origins: Mapping[str, str]
    """Dotted key to ``"file PATH"``, ``"STOKER_..."`` or ``"command line"``."""


def load(
    path: str | Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    folder: str | Path = ".",
) -> Loaded:
    """Read the configuration.

    Args:
        path: The file; by default ``STOKER_CONFIG``, else ``stoker.toml`` or ``stoker.yaml`` in
            ``folder`` if there is one.
        env: The environment; by default the process's.
        overrides: Dotted key to value, from the command line; None values are left out.
        folder: Where to look.

    Raises:
        InvalidConfig: A file that cannot be read, an unknown key, a value of the wrong kind.
        MissingExtra: A YAML file without PyYAML.
    """
    variables = os.environ if env is None else env
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    file = _find(path or variables.get(f"{PREFIX}CONFIG"), Path(folder))
    if file is not None:
        for key, value in _flatten(_read(file)).items():
            _put(merged, origins, key, value, f"file {file}")
    for name, text in variables.items():
        if name.startswith(PREFIX) and name not in _NOT_KEYS:
            key = name.removeprefix(PREFIX).lower().replace("__", ".")
            _put(merged, origins, key, _from_text(key, text), name)
    for key, value in (overrides or {}).items():
        if value is not None:
            _put(merged, origins, key, value, "command line")
    return Loaded(_convert(merged, origins), origins)


_NOT_KEYS = {"STOKER_CONFIG", "STOKER_TEST_REQUIRE"}
_NAMED = {"log_level": "log.level", "worker_name": "worker.name", "worker_id": "worker.name"}


def _find(path: str | Path | None, folder: Path) -> Path | None:
    if path is not None:
        file = Path(path)
        if not file.is_file():
            raise InvalidConfig(f"the configuration file {str(file)!r} does not exist")
        return file
    found = [folder / name for name in FILES if (folder / name).is_file()]
    if len(found) > 1:
        names = " and ".join(str(f) for f in found)
        raise InvalidConfig(f"there are {names}; keep one of them")
    return found[0] if found else None


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        value = tomllib.loads(text) if file.suffix == ".toml" else _yaml(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValueError) as error:
        raise InvalidConfig(f"{file} cannot be read: {error}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidConfig(f"{file} holds a {type(value).__name__}; expected keys and tables")
    return value


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise MissingExtra("reading YAML needs PyYAML: pip install 'stoker[yaml]'") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _flatten(table: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        kind = _field_type(str(key))
        if isinstance(value, dict) and kind is not None and issubclass(kind, Section):
            flat |= {f"{key}.{inner}": v for inner, v in value.items()}
        else:
            flat[str(key)] = value
    return flat


def _field_type(key: str) -> type | None:
    kind = type(getattr(Settings(), key, None))
    return kind if kind is not type(None) else None


def _put(
    merged: dict[str, Any], origins: dict[str, str], key: str, value: Any, origin: str
) -> None:
    key = _NAMED.get(key, key)
    known = _known_keys()
    if isinstance(getattr(Settings(), key, None), Section):
        raise InvalidConfig(f"{key} ({origin}) is a table; write [{key}] and its keys below it")
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
        raise InvalidConfig(f"unknown key {key!r} ({origin}); {hint}", key=key)
    section, _, inner = key.partition(".")
    if inner:
        merged.setdefault(section, {})[inner] = value
    else:
        merged[section] = value
    origins[key] = origin


def _known_keys() -> set[str]:
    keys: set[str] = set()
    for name in Settings.__struct_fields__:
        value = getattr(Settings(), name)
        if isinstance(value, Section):
            keys |= {f"{name}.{inner}" for inner in value.__struct_fields__}
        else:
            keys.add(name)
    return keys


def _from_text(key: str, text: str) -> Any:
    """Lists and tables in variables: ``a,b`` and ``a=2,b=3``. An empty broker is none."""
    if key == "broker":
        return text or None
    if key == "queues":
        return [part.strip() for part in text.split(",") if part.strip()]
    if key == "worker.queues":
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        return {name.strip(): number.strip() or "0" for name, _, number in pairs}
    return text


def _convert(merged: dict[str, Any], origins: Mapping[str, str]) -> Settings:
    for section, key in (("worker", "queues"),):
        value = merged.get(section, {}).get(key)
        if isinstance(value, list):
            merged[section][key] = dict.fromkeys(value, 0)
    if "kinds" in merged.get("fleet", {}):
        merged["fleet"]["kinds"] = read_kinds(merged["fleet"]["kinds"], origins, _special)
    try:
        settings = msgspec.convert(merged, Settings, strict=False, dec_hook=_special)
        settings.retry.policy()
    except InvalidOption as error:
        raise InvalidConfig(f"[retry] {error.message}") from None
    except msgspec.ValidationError as error:
        path = str(error).rpartition("`$.")[2].rstrip("`") if "`$." in str(error) else ""
        origin = f" ({origins[path]})" if path in origins else ""
        raise InvalidConfig(f"{path or 'configuration'}{origin}: {error}") from None
    _check_ranges(settings)
    return settings


def _special(wanted: type, value: Any) -> Any:
    try:
        if wanted is Seconds:
            return Seconds(seconds(value))
        if wanted is Bytes:
            return Bytes(byte_size(value))
    except InvalidOption as error:
        raise ValueError(error.message) from None
    if wanted is Secret and isinstance(value, str):
        return Secret(value)
    raise ValueError(f"expected a {wanted.__name__.lower()}, got {type(value).__name__}")


def _check_ranges(settings: Settings) -> None:
    least = {
        "worker.concurrency": (settings.worker.concurrency, 1),
        "worker.lease": (settings.worker.lease, 0.2),
        "keeper.interval": (settings.keeper.interval, 0.01),
        "keeper.term": (settings.keeper.term, 0.1),
        "fleet.min": (settings.fleet.min, 0),
        "fleet.max": (settings.fleet.max, max(1, settings.fleet.min)),
        "fleet.ready_within": (settings.fleet.ready_within, 1),
        "server.port": (settings.server.port, 0),
        "gateway.port": (settings.gateway.port or 0, 0),
        "gateway.frame": (settings.gateway.frame, 65_536),
        "gateway.connections": (settings.gateway.connections, 1),
    }
    for key, (value, floor) in least.items():
        if value < floor:
            raise InvalidConfig(f"{key} is {value}; expected at least {floor}", key=key)
    if settings.log.level.lower() not in {"debug", "info", "warning", "error"}:
        raise InvalidConfig(
            f"log.level is {settings.log.level!r}; expected debug, info, warning or error"
        )
    if settings.log.format not in {"auto", "text", "json"}:
        raise InvalidConfig(f"log.format is {settings.log.format!r}; expected auto, text or json")
