"""``stoker jobs``."""

import json
import re

import pytest

from stoker.cli.jobs import COLUMNS
from stoker.core.job import ErrorInfo, Outcome
from tests.unit.cli.conftest import Line

NOBODY = "01900000-0000-7000-8000-000000000000"


def _send(line: Line, *words: str) -> str:
    return line("send", "send_email", "to=a@example.com", *words).stdout.strip()


def test_ls_shows_whole_ids_and_no_colours_in_a_pipe(line: Line) -> None:
    job_id = _send(line)
    head, row = line.lines("jobs", "ls")
    assert head.lower().split() == list(COLUMNS)
    assert row.startswith(f"{job_id}  send_email  queued  default  medium")
    assert "\x1b" not in row


def test_ls_filters_by_state_queue_and_task(line: Line) -> None:
    mail = _send(line, "--queue", "mail")
    later = _send(line, "--in", "1h")
    other = line("send", "compress", "data=aGk=").stdout.strip()

    def ids(*words: str) -> set[str]:
        return {job["id"] for job in line.json("jobs", "ls", *words)["jobs"]}

    assert ids() == {mail, later, other}
    assert ids("--state", "scheduled") == {later}
    assert ids("--queue", "mail") == {mail}
    assert ids("--task", "compress", "--task", "nothing") == {other}
    assert ids("--since", "1h") == {mail, later, other}
    assert ids("--until", "1h") == set()


def test_ls_goes_on_from_a_cursor(line: Line) -> None:
    sent = [_send(line) for _ in range(5)]
    first = line.json("jobs", "ls", "--limit", "3")
    rest = line.json("jobs", "ls", "--limit", "3", "--cursor", first["next_cursor"])
    assert [job["id"] for job in first["jobs"] + rest["jobs"]] == sent[::-1]
    assert rest["next_cursor"] is None
    assert "there are more" in line("jobs", "ls", "--limit", "3").stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--limit", "0"), "invalid_query"),
        (("--cursor", "made up"), "invalid_query"),
        (("--since", "yesterday"), "invalid_option"),
        (("--state", "sleeping"), "usage"),
    ],
)
def test_a_query_that_means_nothing_is_refused(
    line: Line, words: tuple[str, ...], code: str
) -> None:
    assert line.error("jobs", "ls", *words, code=2)["code"] == code


def test_show_prints_payload_attempts_log_and_traceback(line: Line) -> None:
    [job_id] = line.bury(message="first line\nsecond \x1b[2J line")
    text = line("jobs", "show", job_id).stdout
    assert "dead_letter" in text
    assert "first line" in text
    assert '"to": "a@example.com"' in text
    assert "Traceback" in text
    assert "\x1b" not in text


def test_show_tells_the_error_of_a_job_that_ended_well_from_one_that_did_not(line: Line) -> None:
    [buried] = line.bury()
    assert re.search(
        r"^error +OSError: no such host", line("jobs", "show", buried).stdout, re.MULTILINE
    )
    line("jobs", "retry", buried)
    error = ErrorInfo(code="task_error", type="OSError", message="not yet", traceback="Trace\n")
    line.end(line.lease(), Outcome.FAILED, error=error, retry_in=0.0)
    line.end(line.lease(), Outcome.COMPLETED, result=b"1")
    text = line("jobs", "show", buried).stdout
    assert "completed" in text
    assert re.search(r"^last error +OSError: not yet", text, re.MULTILINE)
    assert not re.search(r"^error ", text, re.MULTILINE)
    assert "Traceback of the last error" in text


def test_show_as_json_is_the_flat_job(line: Line) -> None:
    job_id = _send(line)
    job = line.json("jobs", "show", job_id)
    assert (job["id"], job["task"], job["attempts"], job["result"]) == (
        job_id,
        "send_email",
        [],
        None,
    )


@pytest.mark.parametrize("verb", ["show", "cancel", "retry", "logs", "rm"])
def test_an_unknown_id_is_refused(line: Line, verb: str) -> None:
    result = line("jobs", verb, NOBODY, "--json", code=2)
    assert json.loads(result.stderr)["error"]["code"] == "job_not_found"


def test_cancel_calls_a_waiting_job_off_and_says_so(line: Line) -> None:
    job_id = _send(line)
    assert line.json("jobs", "cancel", job_id, "--reason", "not needed") == {
        "answers": [{"id": job_id, "answer": "cancelled"}]
    }
    assert line.json("jobs", "cancel", job_id, code=1)["answers"][0]["answer"] == "too_late"
    [event] = line.json("events", "--kind", "job_cancelled")["events"]
    assert event["actor"].startswith("cli:")
    assert event["details"]["reason"] == "not needed"


def test_cancel_tells_the_worker_of_a_running_job(line: Line) -> None:
    job_id = _send(line)
    line.lease()
    assert line.json("jobs", "cancel", job_id)["answers"][0]["answer"] == "requested"


def test_cancel_by_filter_wants_to_be_sure(line: Line) -> None:
    mail = _send(line, "--queue", "mail")
    other = _send(line)
    assert line.error("jobs", "cancel", "--queue", "mail", code=2)["code"] == "invalid_option"
    assert line.error("jobs", "cancel", code=2)["code"] == "usage"
    assert line.error("jobs", "cancel", other, "--queue", "mail", code=2)["code"] == "usage"
    answers = line.json("jobs", "cancel", "--queue", "mail", "--yes")["answers"]
    assert answers == [{"id": mail, "answer": "cancelled"}]
    assert line.json("jobs", "show", other)["state"] == "queued"


def test_retry_runs_ended_jobs_again_with_a_new_payload(line: Line) -> None:
    [job_id] = line.bury()
    payload = '{"to": "b@example.com"}'
    wrong = line.error("jobs", "retry", job_id, "--payload", '{"nothing": 1}', code=2)
    assert wrong["code"] == "invalid_arguments"
    assert line.json("jobs", "retry", job_id, "--payload", payload)["answers"] == [
        {"id": job_id, "answer": "requeued"}
    ]
    job = line.json("jobs", "show", job_id)
    assert (job["state"], job["payload"]) == ("queued", {"to": "b@example.com"})
    assert line.json("jobs", "retry", job_id, code=1)["answers"][0]["answer"] == "refused"


def test_retry_by_filter_takes_dead_and_cancelled_jobs(line: Line) -> None:
    dead = line.bury(2)
    completed = _send(line)
    line.end(line.lease(), Outcome.COMPLETED, result=b"1")
    answers = line.json("jobs", "retry", "--task", "send_email", "--yes")["answers"]
    assert {a["id"] for a in answers} == set(dead)
    assert line.json("jobs", "show", completed)["state"] == "completed"


def test_rm_deletes_waiting_and_ended_jobs_and_spares_running_ones(line: Line) -> None:
    running = _send(line)
    line.lease()
    waiting = _send(line)
    answer = line.json("jobs", "rm", running, waiting, code=1)
    assert answer == {"removed": 1, "kept": [running], "unknown": []}
    assert line.error("jobs", "show", waiting, code=2)["code"] == "job_not_found"


def test_explain_names_the_nearest_cause(line: Line) -> None:
    job_id = _send(line)
    line("queues", "pause", "default")
    found = line.json("explain", job_id)
    assert [blocker["code"] for blocker in found["blockers"]] == ["queue_paused", "no_worker"]
    assert "queue 'default' is paused" in line("explain", job_id).stdout
    assert line.error("explain", NOBODY, code=2)["code"] == "job_not_found"


def test_data_from_jobs_cannot_repaint_the_terminal(line: Line) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J"
    _send(line, f"subject={evil}", "--tenant", "t\x9b31m")
    error = ErrorInfo(code="task_error", type="E", message=evil)
    [job] = line.lease()
    line.end([job], Outcome.FAILED, error=error)
    for words in (("jobs", "ls"), ("jobs", "show", job.id), ("dlq", "ls"), ("dlq", "export")):
        printed = line(*words).stdout
        assert not any(char in printed for char in "\x1b\x07\x9b"), words
