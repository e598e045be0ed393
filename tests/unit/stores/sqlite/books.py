"""The books against a recount: what commands wrote down must be what the rows say."""

from tests.unit.stores.sqlite.conftest import Rows

CHECKS = {
    "tallies": (
        "SELECT queue, priority, state, n FROM tallies WHERE n <> 0 ORDER BY 1, 2, 3",
        """SELECT queue, priority, CASE state WHEN 4 THEN 3 ELSE state END AS s, count(*) FROM jobs
        GROUP BY queue, priority, s ORDER BY 1, 2, 3""",
    ),
    "workflows": (
        "SELECT workflow_id, state, n FROM workflow_tallies ORDER BY 1, 2",
        """SELECT workflow_id, CASE state WHEN 4 THEN 3 ELSE state END AS s, count(*) FROM jobs
        WHERE workflow_id IS NOT NULL GROUP BY workflow_id, s ORDER BY 1, 2""",
    ),
    "totals": (
        # Sums of seconds are kept as totals only.
        "SELECT outcome, n FROM totals WHERE outcome NOT IN ('waited_us', 'ran_us') ORDER BY 1",
        "SELECT outcome, sum(n) FROM activity GROUP BY outcome ORDER BY 1",
    ),
    "waiting_for": (
        "SELECT seq, coalesce(waiting_for, 0) FROM jobs WHERE state = 0 ORDER BY seq",
        """SELECT c.seq, (SELECT count(*) FROM edges AS e JOIN jobs AS p ON p.seq = e.parent
                          WHERE e.child = c.seq AND p.state < 6)
        FROM jobs AS c WHERE c.state = 0 ORDER BY seq""",
    ),
    "finished": (
        "SELECT seq FROM jobs WHERE finished_at IS NOT NULL ORDER BY seq",
        "SELECT seq FROM jobs WHERE state >= 6 ORDER BY seq",
    ),
    "deadlines": (
        "SELECT seq FROM jobs WHERE deadline_at IS NOT NULL ORDER BY seq",
        "SELECT seq FROM jobs WHERE state IN (3, 4) AND timeout IS NOT NULL ORDER BY seq",
    ),
    "orphans": (
        """SELECT job FROM (SELECT job FROM attempts UNION SELECT job FROM logs UNION
                            SELECT job FROM payloads UNION SELECT child FROM edges)
        WHERE job NOT IN (SELECT seq FROM jobs)""",
        "SELECT seq FROM jobs WHERE false",
    ),
}
OF_ALL_TIME = {
    "attempts": (
        """SELECT outcome, sum(n) FROM activity
        WHERE outcome NOT IN ('submitted', 'dead', 'completed')
        AND outcome NOT GLOB 'waited_*' AND outcome NOT GLOB 'ran_*'
        GROUP BY outcome ORDER BY 1""",
        """SELECT outcome, count(*) FROM attempts
        WHERE outcome <> 'completed' GROUP BY outcome ORDER BY 1""",
    ),
    "classes of waits": (
        "SELECT coalesce(sum(n), 0) FROM activity WHERE outcome GLOB 'waited_*'",
        """SELECT (SELECT count(*) FROM jobs WHERE state = 6)
                + (SELECT count(*) FROM attempts WHERE outcome IS NOT NULL)""",
    ),
    "completed": (
        "SELECT coalesce(sum(n), 0) FROM activity WHERE outcome = 'completed'",
        """SELECT (SELECT count(*) FROM jobs WHERE state = 6)
                + (SELECT count(*) FROM attempts WHERE outcome = 'completed')""",
    ),
}


def recount(rows: Rows, *, purged: bool = False) -> list[str]:
    """Return every difference between the books and the rows.

    Args:
        rows: Asks the file.
        purged: Jobs were purged: what they did cannot be counted again.
    """
    checks = CHECKS if purged else CHECKS | OF_ALL_TIME
    found = {name: (rows(said), rows(counted)) for name, (said, counted) in checks.items()}
    return [f"{name}: {said} but {seen}" for name, (said, seen) in found.items() if said != seen]
