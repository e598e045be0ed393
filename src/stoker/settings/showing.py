"""The configuration as it may be shown: every key, and no secret."""

from collections.abc import Iterator
from typing import Any

from stoker.settings.sections import Section, Settings
from stoker.settings.values import Secret, masked


def shown(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Yield every key of the configuration with a value that may be shown."""
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, Section):
            for inner in value.__struct_fields__:
                yield f"{name}.{inner}", _shown(getattr(value, inner))
        else:
            yield name, _shown(value)


def _shown(value: Any) -> Any:
    if isinstance(value, Secret):
        return str(value)
    if isinstance(value, str):
        return masked(value) if "://" in value else value
    if isinstance(value, float):
        return int(value) if value.is_integer() else float(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, dict):
        return {key: _shown(inner) for key, inner in value.items()}
    if isinstance(value, Section):
        return {name: _shown(getattr(value, name)) for name in value.__struct_fields__}
    return list(value) if isinstance(value, tuple) else value
