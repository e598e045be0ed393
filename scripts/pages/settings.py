"""The page ``docs/reference/settings.md``: every key, its variable, its default."""

from collections.abc import Iterator

from scripts.pages.source import NOTICE, field_docs, first_line, table
from stoker import settings
from stoker.settings import PREFIX, Section, Settings, sections

_INTRO = """# Settings

Later beats earlier: the defaults below; one file, `stoker.toml` or `stoker.yaml` in the
working folder (or the one that `STOKER_CONFIG` names); variables of the environment; the
command line. An unknown key is an error that names the nearest known one.
`stoker config show` prints what holds and where each value came from.

A duration is a number of seconds or a text such as `"1h30m"` or `"500ms"`, a size a number
of bytes or a text such as `"512MB"`. Secrets are shown as `***` everywhere.

```toml
# stoker.toml
store = "sqlite:///stoker.db"

[worker]
concurrency = 4
lease = "30s"

[retry]
max_retries = 5
base = "2s"
cap = "5m"
```

"""


def page() -> str:
    """Return the page."""
    parts = [NOTICE.format(source="src/stoker/settings/sections.py"), _INTRO, "## Top level\n\n"]
    parts.append(_table(Settings(), prefix=""))
    for name in Settings.__struct_fields__:
        section = getattr(Settings(), name)
        if isinstance(section, Section):
            parts += [f"\n## `[{name}]`\n\n", _purpose(section), _table(section, prefix=name)]
    return "".join(parts)


def _purpose(section: Section) -> str:
    _, _, text = first_line(type(section).__doc__).partition(": ")
    return f"{text[:1].upper()}{text[1:]}\n\n"


def _table(section: Section, *, prefix: str) -> str:
    return table(("key", "variable", "default", "meaning"), _rows(section, prefix))


def _rows(section: Section, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    docs = field_docs(sections, type(section).__name__)
    for name in section.__struct_fields__:
        default = getattr(section, name)
        if not isinstance(default, Section):
            path = f"{prefix}__{name}" if prefix else name
            shown = _shown(name, default)
            yield f"`{name}`", f"`{PREFIX}{path.upper()}`", shown, docs.get(name, "")


def _shown(name: str, value: object) -> str:
    if value is None or value in ((), {}):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, settings.Seconds):
        return f"`{value:g}` s" if name else ""
    if isinstance(value, settings.Bytes):
        return f"`{value:,}` bytes"
    return f"`{value}`" if isinstance(value, int) else f'`"{value}"`'
