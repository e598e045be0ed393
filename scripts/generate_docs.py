"""Write the pages of ``docs/`` that follow from the code, so that they cannot go stale.

``python -m scripts.generate_docs`` writes them; a test in ``tests/repo`` compares them.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.pages import access, commands, errors, lifecycle, settings, support, tasks

DOCS = Path(__file__).resolve().parents[1] / "docs"

PAGES: Mapping[str, Callable[[], str]] = {
    "lifecycle.md": lifecycle.page,
    "reference/access.md": access.page,
    "reference/cli.md": commands.page,
    "reference/errors.md": errors.page,
    "reference/settings.md": settings.page,
    "reference/support.md": support.page,
    "reference/tasks.md": tasks.page,
}
"""Path under ``docs/`` to the function that makes its text."""


def stale() -> list[str]:
    """Return the pages whose text is not what the code says."""
    return [name for name, page in PAGES.items() if _read(DOCS / name) != page()]


def main() -> int:
    """Write every page; say which ones changed."""
    for name in stale():
        file = DOCS / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(PAGES[name](), encoding="utf-8")
        print(f"wrote docs/{name}")
    return 0


def _read(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
