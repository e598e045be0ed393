"""A progress bar for work whose size is known."""

from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.console import Console


class Bar:
    """A bar on a terminal, gone when the work is done."""

    def __init__(self, console: "Console", *, total: int, word: str) -> None:
        """Prepare a bar.

        Args:
            console: Where to draw.
            total: The size of the work.
            word: What becomes of the things counted: ``"submitted"``.
        """
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._row = self._bar.add_task(word, total=total)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._bar.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""
        self._bar.stop()

    def to(self, done: int) -> None:
        """Show that so many are done."""
        self._bar.update(self._row, completed=done)
