"""Progress reports and cancellation for code that runs inside a job, or without one."""

from stoker.core.context import running_job

_STEP = 0.01


class Progress:
    """One stretch of a task, told to the job that runs here, if there is one.

    A stretch is a part of the whole: ``Progress(0.3, 1.0).to(0.5)`` reports 0.65. Reports that
    change nothing a person could see are dropped, so a loop may call `to` for every chunk.
    """

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        """Begin a stretch from ``low`` to ``high``."""
        self._job = running_job()
        self._low = low
        self._width = high - low
        self._told = -1.0
        self._note: str | None = None

    def check(self) -> None:
        """Go on, or end here.

        Raises:
            Cancelled: Somebody called the job off.
        """
        if self._job is not None:
            self._job.check_cancelled()

    def to(self, done: float, note: str | None = None) -> None:
        """Say how far the stretch is, after `check`.

        Args:
            done: 0 to 1 of this stretch.
            note: What is done now; None leaves the last one.

        Raises:
            Cancelled: Somebody called the job off.
        """
        self.check()
        note = note or self._note
        done = min(1.0, max(0.0, done))
        if self._job is None:
            return
        if note == self._note and done < 1.0 and done - self._told < _STEP:
            return
        self._told, self._note = done, note
        self._job.progress(self._low + self._width * done, note)

    def of(self, done: int, total: int, note: str | None = None) -> None:
        """Say how far the stretch is in units; nothing of nothing is all of it."""
        self.to(done / total if total else 1.0, note)
