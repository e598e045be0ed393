"""Which workers count for scalers outside."""

from datetime import UTC, datetime, timedelta

from stoker.app.demand import demand
from stoker.core.job import SessionInfo, SessionState
from stoker.core.records import Counts, QueueInfo

NOW = datetime(2030, 1, 31, 9, 0, 0, tzinfo=UTC)
COUNTS = Counts(now=NOW, tallies=[], oldest={}, activity=[])


def worker(*queues: str, state: SessionState = SessionState.ALIVE) -> SessionInfo:
    return SessionInfo(
        id="1",
        name="w1",
        state=state,
        host="h",
        pid=1,
        kind="python",
        version="0",
        queues=queues,
        tasks=(),
        concurrency=4,
        busy=0,
        started_at=NOW,
        seen_at=NOW,
        expires_at=NOW + timedelta(seconds=30),
    )


def test_workers_that_leave_or_take_from_other_queues_do_not_count() -> None:
    workers = [worker(), worker("mail"), worker("video"), worker(state=SessionState.DRAINING)]
    mail = demand(COUNTS, [QueueInfo("mail"), QueueInfo("video")], workers, only=("mail",))
    assert (mail.workers, mail.slots) == (2, 8)
    assert list(mail.queues) == ["mail"]
    everything = demand(COUNTS, [QueueInfo("mail")], workers)
    assert (everything.workers, everything.slots) == (3, 12)


def test_the_oldest_of_all_queues_is_named() -> None:
    queues = [
        QueueInfo("mail", oldest_at=NOW - timedelta(seconds=5)),
        QueueInfo("video", oldest_at=NOW - timedelta(seconds=9)),
        QueueInfo("still", paused=True, oldest_at=NOW - timedelta(hours=1)),
    ]
    assert demand(COUNTS, queues, []).oldest_age == 9
