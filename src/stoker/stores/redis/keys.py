"""Every key of a namespace: its type, and who owns it or when it expires.

All of them begin with the namespace in braces, so that a cluster keeps them in one slot and a
function may touch them all. Nothing outside this table is ever written.
"""

from dataclasses import dataclass

DEFAULT_NAMESPACE = "stoker"
MINUTE_KEEP = 90_000
"""Seconds after which the sums of a minute expire: a day, and an hour of grace."""


@dataclass(frozen=True)
class Key:
    """One kind of key."""

    name: str
    """What stands after the namespace; with a colon at the end, something follows."""
    type: str
    owner: str
    """Whose it is: it goes when that goes."""
    holds: str
    expires: bool = False


_NAMESPACE = "the namespace"
KEYS: dict[str, Key] = {
    "LAYOUT": Key("layout", "string", _NAMESPACE, "the version of this table"),
    "IDENTITY": Key("identity", "string", _NAMESPACE, "128 random bits that name the store"),
    "SEQS": Key("seqs", "hash", _NAMESPACE, "the last number given: jobs, events, ..."),
    "JOBS": Key("jobs", "hash", "its jobs, by field", "number to packed record"),
    "SPECS": Key("specs", "hash", "its jobs, by field", "number to what was submitted"),
    "IDS": Key("ids", "hash", "its jobs, by field", "id to number"),
    "RESULTS": Key("results", "hash", "its jobs, by field", "number to result"),
    "TRIES": Key("tries", "hash", "its jobs, by field", "number and epoch to an earlier attempt"),
    "PARENTS": Key("parents", "hash", "its jobs, by field", "number to numbers of parents"),
    "KIDS": Key("kids:", "set", "the job it names", "numbers of the children"),
    "LOGS": Key("logs:", "list", "the job it names", "log lines"),
    "UNIQUE": Key("unique", "hash", "live jobs, by field", "unique key to number"),
    "READY": Key("ready:", "zset", "queued jobs", "by priority and queue: numbers by moment due"),
    "DUE": Key("due", "zset", "scheduled jobs and retries", "numbers by moment due"),
    "HELD": Key("held:", "set", "leased jobs", "by session: numbers"),
    "DEADLINES": Key("deadlines", "zset", "leased jobs", "numbers by deadline"),
    "EXPIRING": Key("expiring", "zset", "waiting jobs", "numbers by moment of expiry"),
    "ENDED": Key("ended:", "zset", "ended jobs", "by state: numbers by moment ended"),
    "QUEUES": Key("queues", "hash", _NAMESPACE, "name to settings"),
    "TALLIES": Key("tallies", "hash", _NAMESPACE, "state, priority and queue to number of jobs"),
    "CENSUS": Key("census", "hash", "blocks of jobs", "block and state to number of jobs"),
    "BLOCKS": Key("blocks", "hash", "blocks of jobs", "block to its facts"),
    "FACT": Key("fact:", "zset", "blocks of jobs", "by fact: blocks that hold such jobs"),
    "FLOWS": Key("flows", "hash", "workflows, by field", "id to name and moment"),
    "FLOWLIST": Key("flowlist", "zset", "workflows", "ids in the order of submission"),
    "FLOW": Key("flow:", "zset", "jobs of the workflow", "numbers of its jobs"),
    "FLOWTALLY": Key("flowtally:", "hash", "jobs of the workflow", "state to number of jobs"),
    "SESSIONS": Key("sessions", "hash", "sessions, by field", "id to record"),
    "ALIVE": Key("alive", "zset", "living sessions", "ids by moment of expiry"),
    "DEAD": Key("dead", "set", "dead sessions that hold jobs", "ids"),
    "GONE": Key("gone", "zset", "ended sessions, for a day", "ids by moment of the end"),
    "NONCES": Key("nonces", "hash", "living sessions, by field", "id to the last nonce"),
    "SCHEDULES": Key("schedules", "hash", "schedules, by field", "name to record"),
    "KEYRING": Key("keys", "hash", "API keys, by field", "id to record"),
    "LOGINS": Key("logins", "zset", "log-ins", "ids by moment of expiry"),
    "TERMS": Key("terms", "hash", "terms, by field", "name to holder and moments"),
    "ELECTED": Key("elected", "hash", _NAMESPACE, "name to the last election"),
    "EVENTS": Key("events", "stream", _NAMESPACE, "the audit trail, trimmed"),
    "TOTALS": Key("totals", "hash", _NAMESPACE, "outcome to count since the beginning"),
    "MINUTE": Key("minute:", "hash", "its day", "activity of one minute", expires=True),
}
CHANNELS = {"RINGS": "rings", "NEWS": "news"}
"""Channels of publish and subscribe: queues with new jobs; jobs that changed."""


def root(namespace: str) -> str:
    """Return what every key of a namespace begins with."""
    return "{" + namespace + "}"


def kind_of(key: str, namespace: str) -> Key | None:
    """Return the row of the table that a key belongs to; None: it should not exist."""
    prefix = root(namespace) + ":"
    if not key.startswith(prefix):
        return None
    name = key.removeprefix(prefix)
    for row in KEYS.values():
        if name == row.name or (row.name.endswith(":") and name.startswith(row.name)):
            return row
    return None
