"""``stoker dlq``, ``queues``, ``schedules``, ``workflows``, ``workers``, ``events``."""

import json

import pytest

from stoker.cli.dlq import read_rate
from stoker.core.errors import InvalidOption
from tests.unit.cli.conftest import Line


@pytest.mark.parametrize(
    ("text", "rate"), [("50/s", 50.0), ("50", 50.0), ("120/m", 2.0), ("36/h", 0.01)]
)
def test_a_rate_is_read(text: str, rate: float) -> None:
    assert read_rate(text) == pytest.approx(rate)


@pytest.mark.parametrize("text", ["", "fast", "0/s", "-1/s", "5/y", "nan", "inf/s"])
def test_a_rate_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="expected a number such as 50/s"):
        read_rate(text)


def test_dead_letters_are_grouped_by_what_they_died_of(line: Line) -> None:
    line.bury(2, message="host 10.0.0.1 is away")
    line.bury(1, message="disk is full")
    [first, second] = line.json("dlq", "ls", "--group-by", "error")["groups"]
    assert (first["count"], first["type"]) == (2, "OSError")
    assert (second["count"], second["message"]) == (1, "disk is full")
    by_task = line.json("dlq", "ls", "--group-by", "task")["groups"]
    assert by_task == [{"task": "send_email", "count": 3}]
    assert len(line.lines("dlq", "ls", "--group-by", "error")) == 3


def test_a_dry_run_replays_nothing(line: Line) -> None:
    [job_id] = line.bury()
    groups = line.json("dlq", "replay", "--dry-run")["groups"]
    assert groups[0]["count"] == 1
    assert line.json("jobs", "show", job_id)["state"] == "dead_letter"


def test_a_replay_wants_to_be_sure_and_brings_jobs_back(line: Line) -> None:
    ids = line.bury(3)
    assert line.error("dlq", "replay", code=2)["code"] == "invalid_option"
    assert line.json("dlq", "replay", "--yes") == {"replayed": 3, "refused": 0}
    assert {line.json("jobs", "show", i)["state"] for i in ids} == {"queued"}


def test_a_replay_at_a_rate_makes_jobs_due_one_after_the_other(line: Line) -> None:
    line.bury(3)
    line("dlq", "replay", "--yes", "--rate", "1/m")
    states = [job["state"] for job in line.json("jobs", "ls")["jobs"]]
    assert sorted(states) == ["queued", "scheduled", "scheduled"]


def test_a_replay_of_what_is_no_dead_letter_is_refused(line: Line) -> None:
    result = line("dlq", "replay", "01900000-0000-7000-8000-000000000000", code=1)
    assert "not replayed" in result.stderr


def test_drop_deletes_what_matches(line: Line) -> None:
    [away] = line.bury(message="host is away")
    [full] = line.bury(message="disk is full")
    assert line.json("dlq", "drop", "--error", "disk", "--yes") == {"dropped": 1}
    assert [job["id"] for job in line.json("dlq", "ls")["jobs"]] == [away]
    assert line.error("dlq", "show", full, code=2)["code"] == "job_not_found"


def test_export_writes_one_json_job_a_line(line: Line) -> None:
    ids = line.bury(2)
    lines = line.lines("dlq", "export")
    assert {json.loads(text)["id"] for text in lines} == set(ids)
    line("dlq", "export", "--output", "dead.jsonl")
    assert len((line.folder / "dead.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    assert "Is a directory" in line("dlq", "export", "-o", ".", code=2).stderr


def test_queues_are_listed_paused_limited_and_resumed(line: Line) -> None:
    line("send", "send_email", "to=a@example.com", "--queue", "mail")
    line("queues", "pause", "mail")
    line("queues", "limit", "mail", "3")
    [queue] = line.json("queues", "ls")["queues"]
    assert (queue["name"], queue["paused"], queue["limit"]) == ("mail", True, 3)
    assert queue["counts"]["queued"] == 1
    assert line("queues", "resume", "mail").stdout == "queue mail is open, at most 3 at once\n"
    assert line("queues", "limit", "mail", "0").stdout == "queue mail is open, no limit\n"


@pytest.mark.parametrize("words", [("pause",), ("resume",), ("purge", "--yes")])
def test_an_unknown_queue_is_refused_with_the_nearest(line: Line, words: tuple[str, ...]) -> None:
    line("send", "send_email", "to=a@example.com", "--queue", "mail")
    error = line.error("queues", words[0], "mial", *words[1:], code=2)
    assert error["code"] == "queue_not_found"
    assert error["details"]["suggestions"] == ["mail"]
    assert [q["name"] for q in line.json("queues", "ls")["queues"]] == ["mail"]


def test_purge_deletes_waiting_jobs_after_it_was_confirmed(line: Line) -> None:
    line("send", "send_email", "to=a@example.com")
    line("send", "send_email", "to=a@example.com", "--in", "1h")
    assert line.error("queues", "purge", "default", code=2)["code"] == "invalid_option"
    assert line.json("queues", "purge", "default", "--yes") == {"purged": 2}
    assert line.json("jobs", "ls")["jobs"] == []


def test_a_schedule_is_made_listed_paused_resumed_run_and_removed(line: Line) -> None:
    words = ("nightly", "0 3 * * *", "send_email", "to=a@example.com")
    line("schedules", "add", *words, "--timezone", "Europe/Berlin", "--catch-up", "skip")
    [found] = line.json("schedules", "ls", "--next", "2")["schedules"]
    assert found["cron_expression"] == "0 3 * * *"
    assert (found["timezone"], found["catch_up"]) == ("Europe/Berlin", "skip")
    assert found["payload"] == {"to": "a@example.com"}
    assert len(found["next_firings"]) == 2
    assert line.json("schedules", "pause", "nightly")["paused"] is True
    assert line.json("schedules", "resume", "nightly")["paused"] is False
    job_id = line.json("schedules", "run", "nightly")["job_id"]
    assert line.json("jobs", "show", job_id)["schedule"] == "nightly"
    assert line.json("schedules", "rm", "nightly") == {"removed": ["nightly"]}
    assert line.json("schedules", "ls")["schedules"] == []


def test_a_schedule_may_have_an_interval_and_be_changed(line: Line) -> None:
    assert (
        "added schedule beat"
        in line(
            "schedules", "add", "beat", "--every", "30s", "send_email", "to=a@example.com"
        ).stdout
    )
    assert (
        "changed schedule beat"
        in line(
            "schedules", "add", "beat", "--every", "5m", "send_email", "to=a@example.com"
        ).stdout
    )
    assert line.json("schedules", "ls")["schedules"][0]["interval"] == 300.0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("x", "0 25 * * *", "send_email", "to=a"), "invalid_schedule"),
        (("x", "* * *", "send_email", "to=a"), "invalid_schedule"),
        (("x", "0 3 * * *", "send_emial", "to=a"), "unknown_task"),
        (("x", "0 3 * * *", "send_email"), "invalid_arguments"),
        (("x", "0 3 * * *", "send_email", "to=a", "--timezone", "Mars/X"), "invalid_schedule"),
        (("x", "--every", "soon", "send_email", "to=a"), "invalid_schedule"),
        (("no name", "0 3 * * *", "send_email", "to=a"), "invalid_option"),
        (("x", "0 3 * * *"), "usage"),
    ],
)
def test_a_bad_schedule_is_refused(line: Line, words: tuple[str, ...], code: str) -> None:
    assert line.error("schedules", "add", *words, code=2)["code"] == code
    assert line.json("schedules", "ls")["schedules"] == []


@pytest.mark.parametrize("verb", ["pause", "resume", "run", "rm"])
def test_an_unknown_schedule_is_refused(line: Line, verb: str) -> None:
    line("schedules", "add", "nightly", "0 3 * * *", "send_email", "to=a@example.com")
    error = line.error("schedules", verb, "nightli", code=2)
    assert error["code"] == "schedule_not_found"
    assert error["details"]["suggestions"] == ["nightly"]


FLOW = {
    "name": "ingest",
    "jobs": [
        {"name": "pack", "task": "compress", "payload": {"data": "aGk="}},
        {"name": "tell", "task": "send_email", "payload": {"to": "a@b.c"}, "after": ["pack"]},
    ],
}


def _submit(line: Line) -> str:
    (line.folder / "flow.json").write_text(json.dumps(FLOW), encoding="utf-8")
    return line("workflows", "submit", "flow.json").stdout.strip()


def test_a_workflow_is_submitted_listed_shown_cancelled_and_retried(line: Line) -> None:
    flow = _submit(line)
    assert [w["id"] for w in line.json("workflows", "ls")["workflows"]] == [flow]
    shown = line.json("workflows", "show", flow)
    assert [job["node"] for job in shown["jobs"]] == ["pack", "tell"]
    ids = [job["id"] for job in shown["jobs"]]
    assert shown["edges"] == [{"from": ids[0], "to": ids[1]}]
    assert "tell" in line("workflows", "show", flow).stdout
    assert line.json("workflows", "cancel", flow)["cancelled"] > 0
    assert line.json("workflows", "show", flow)["state"] == "cancelled"
    assert line.json("workflows", "retry", flow, "--from", "pack")["answers"][0]["id"] == ids[0]
    states = [job["state"] for job in line.json("workflows", "show", flow)["jobs"]]
    assert states == ["queued", "blocked"]


def test_a_workflow_that_cannot_be_is_refused(line: Line) -> None:
    cycle = {
        "name": "x",
        "jobs": [
            {"name": "a", "task": "compress", "payload": {"data": "aGk="}, "after": ["b"]},
            {"name": "b", "task": "compress", "payload": {"data": "aGk="}, "after": ["a"]},
        ],
    }
    result = line("workflows", "submit", "-", "--json", code=2, stdin=json.dumps(cycle))
    assert json.loads(result.stderr)["error"]["code"] == "invalid_workflow"
    assert line.error("workflows", "submit", "nowhere.json", code=2)["code"] == "invalid_payload"
    assert line.json("workflows", "ls")["workflows"] == []


@pytest.mark.parametrize("verb", ["show", "cancel", "retry"])
def test_an_unknown_workflow_is_refused(line: Line, verb: str) -> None:
    assert line.error("workflows", verb, "nope", code=2)["code"] == "workflow_not_found"


def test_a_node_that_is_not_there_is_refused(line: Line) -> None:
    flow = _submit(line)
    error = line.error("workflows", "retry", flow, "--from", "nope", code=2)
    assert error["code"] == "workflow_not_found"


def test_waiting_for_a_workflow_gives_up_in_time(line: Line) -> None:
    (line.folder / "flow.json").write_text(json.dumps(FLOW), encoding="utf-8")
    words = ("workflows", "submit", "flow.json", "--wait", "--timeout-wait", "0.2")
    assert line.error(*words, code=4)["code"] == "result_timeout"


def test_workers_are_listed_and_told_to_stop(line: Line) -> None:
    line("send", "send_email", "to=a@example.com")
    line.lease()
    [worker] = line.json("workers", "ls")["workers"]
    assert (worker["name"], worker["busy"]) == ("w1", 1)
    assert line("workers", "stop", "w*").stdout == "told w1 to drain\n"
    assert line.json("workers", "ls")["workers"][0]["command"] == "drain"
    assert line.json("workers", "stop", "--all", "--now")["command"] == "stop"


def test_an_unknown_worker_is_refused_with_the_nearest(line: Line) -> None:
    line("send", "send_email", "to=a@example.com")
    line.lease()
    error = line.error("workers", "stop", "w11", code=2)
    assert error["code"] == "worker_not_found"
    assert error["details"]["suggestions"] == ["w1"]
    assert line.error("workers", "stop", code=2)["code"] == "usage"
    assert line.error("workers", "stop", "w1", "--all", code=2)["code"] == "usage"


def test_fleets_are_listed_by_kind_with_the_workers_that_are_not_ready(line: Line) -> None:
    line.fleet("mail", "rest")
    [fleet] = line.json("workers", "ls")["fleets"]
    assert (fleet["name"], [kind["name"] for kind in fleet["kinds"]]) == ("mill", ["mail", "rest"])
    assert line.json("workers", "ls")["workers"] == []
    text = line("workers", "ls").stdout
    assert "1/2 ready, cannot run" in text
    assert "backing off" in text
    assert "ended with exit code 3" in text


def test_a_fleet_is_scaled_and_drained_through_the_store_from_anywhere(line: Line) -> None:
    line.fleet("mail", "rest")
    words = ("fleet", "scale", "--name", "mill", "--kind", "mail", "--max", "7", "--reason", "sale")
    assert line(*words).stdout == "told fleet mill to have 1 to 7 mail workers\n"
    assert line.json("fleet", "drain", "--name", "mill@mars")["answer"] == "draining"
    scaled, drained = line.json("events", "--kind", "fleet_commanded")["events"]
    assert scaled["details"]["max"] == 7
    assert (scaled["actor"].partition(":")[0], scaled["details"]["reason"]) == ("cli", "sale")
    assert (drained["details"]["action"], drained["worker"]) == ("drain", "fleet:mill")


def test_a_fleet_elsewhere_that_does_not_stop_in_time_is_said_to_run_on(line: Line) -> None:
    line.fleet("mail")
    result = line("fleet", "stop", "--name", "mill", "--now", "--timeout", "0.1s", code=1)
    assert "has not ended yet" in result.stderr
    [event] = line.json("events", "--kind", "fleet_commanded")["events"]
    assert event["details"]["action"] == "stop"


def test_a_fleet_that_is_not_there_and_bounds_without_sense_are_refused(line: Line) -> None:
    line.fleet("mail", "rest")
    assert line.error("fleet", "drain", "--name", "no", code=2)["code"] == "fleet_not_found"
    assert line.error("fleet", "stop", "--name", "no", code=2)["code"] == "fleet_not_found"
    error = line.error("fleet", "scale", "--name", "mill", "--max", "3", code=2)
    assert error["message"] == "fleet 'mill' has several kinds; say which of mail, rest"


def test_events_say_what_happened_and_who_did_it(line: Line) -> None:
    line("send", "send_email", "to=a@example.com")
    line("queues", "pause", "default")
    line("queues", "resume", "default")
    events = line.json("events")["events"]
    assert [e["kind"] for e in events] == ["queue_paused", "queue_resumed"]
    assert {e["actor"].partition(":")[0] for e in events} == {"cli"}
    assert [e["kind"] for e in line.json("events", "--kind", "queue_paused")["events"]] == [
        "queue_paused"
    ]
    assert line.json("events", "--since", "2099-01-01T00:00:00Z")["events"] == []
    assert "queue_resumed" in line.lines("events", "-n", "1")[0]
    assert line.error("events", "--kind", "nothing", code=2)["code"] == "usage"
