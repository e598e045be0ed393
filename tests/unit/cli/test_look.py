"""``stoker status``, ``top``, ``tasks``, ``config``, ``db``, ``doctor``, ``generate``."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stoker.app.stats import summarize
from stoker.cli.health import concerns
from stoker.core.job import Priority, SessionInfo, SessionState
from stoker.core.lifecycle import State
from stoker.core.records import Counts, QueueInfo, Tally
from tests.servers.server import free_port
from tests.unit.cli.conftest import Line

NOW = datetime(2030, 1, 31, 9, 0, 0, tzinfo=UTC)


def _worker(*, expires: float = 30.0, state: SessionState = SessionState.ALIVE) -> SessionInfo:
    return SessionInfo(
        id="1",
        name="w1",
        state=state,
        host="h",
        pid=1,
        kind="python",
        version="0",
        queues=(),
        tasks=(),
        concurrency=1,
        busy=0,
        started_at=NOW,
        seen_at=NOW,
        expires_at=NOW + timedelta(seconds=expires),
    )


def _codes(
    *, queued: int = 0, waited: float = 0.0, paused: bool = False, died: int = 0, workers: int = 1
) -> list[str]:
    tallies = [Tally("q", Priority.MEDIUM, State.QUEUED, queued)] if queued else []
    counts = Counts(now=NOW, tallies=tallies, oldest={}, activity=[])
    oldest = NOW - timedelta(seconds=waited) if queued else None
    queue = QueueInfo("q", paused=paused, counts={State.QUEUED: queued}, oldest_at=oldest)
    alive = [_worker()] * workers
    stats = summarize(counts, alive, [queue], window=300)
    return [c.code for c in concerns(stats, alive, died=died, max_wait=60)]


def test_an_idle_system_without_workers_is_fine() -> None:
    assert _codes(workers=0) == []


def test_jobs_that_wait_while_nobody_works_are_a_concern() -> None:
    assert _codes(queued=1, workers=0) == ["no_worker"]
    assert _codes(queued=1) == []


def test_jobs_that_wait_too_long_are_a_concern_unless_their_queue_is_paused() -> None:
    assert _codes(queued=1, waited=61) == ["old_jobs"]
    assert _codes(queued=1, waited=59) == []
    assert _codes(queued=1, waited=61, paused=True) == []


def test_new_dead_letters_are_a_concern() -> None:
    assert _codes(died=2) == ["dead_letters"]


def test_a_silent_worker_is_a_concern_and_does_no_work() -> None:
    counts = Counts(
        now=NOW, tallies=[Tally("q", Priority.LOW, State.QUEUED, 1)], oldest={}, activity=[]
    )
    silent = [_worker(expires=-1)]
    stats = summarize(counts, silent, [], window=300)
    found = [c.code for c in concerns(stats, silent, died=0, max_wait=60)]
    assert found == ["no_worker", "silent_workers"]


def test_a_draining_worker_takes_nothing_new() -> None:
    counts = Counts(
        now=NOW, tallies=[Tally("q", Priority.LOW, State.QUEUED, 1)], oldest={}, activity=[]
    )
    leaving = [_worker(state=SessionState.DRAINING)]
    stats = summarize(counts, leaving, [], window=300)
    assert [c.code for c in concerns(stats, leaving, died=0, max_wait=60)] == ["no_worker"]


def test_status_ends_with_0_1_or_2(line: Line) -> None:
    assert line.json("status")["status"] == "ok"
    line("send", "send_email", "to=a@example.com")
    found = line.json("status", code=1)
    assert [c["code"] for c in found["concerns"]] == ["no_worker"]
    assert found["stats"]["states"]["queued"] == 1
    (line.folder / "text.db").write_text("this is no database\n" * 100, encoding="utf-8")
    down = line.json("status", "--store", "sqlite:///text.db", code=2)
    assert down["error"]["code"] == "not_a_store"


def test_status_shows_queues_and_workers(line: Line) -> None:
    line("send", "send_email", "to=a@example.com")
    line.lease()
    text = line("status").stdout
    assert text.startswith("all is well\n")
    assert "1 assigned" in text
    assert "w1" in text


def test_top_prints_plain_pictures_in_a_pipe(line: Line) -> None:
    line("send", "send_email", "to=a@example.com")
    text = line("top", "--count", "2", "--interval", "0.1").stdout
    assert text.count("needs attention:") == 2
    assert "\x1b" not in text


def test_tasks_lists_names_and_arguments(line: Line) -> None:
    rows = {row.split()[0]: row for row in line.lines("tasks")}
    assert "[algorithm=gzip]" in rows["compress"]
    assert "process_video" in rows
    [task] = [t for t in line.json("tasks")["tasks"] if t["name"] == "send_email"]
    assert task["known_here"] is True
    assert "to" in json.dumps(task["payload_schema"])


def test_one_task_is_shown_in_full(line: Line) -> None:
    text = line("tasks", "send_email").stdout
    assert "to: str | list[str]" in text
    assert "Send an e-mail." in text
    assert line.error("tasks", "send_emial", code=2)["code"] == "unknown_task"


def test_config_show_tells_values_and_origins_and_hides_secrets(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("stoker.toml").write_text(
        '[tasks]\nencryption_key = "c2VjcmV0"\nsmtp = "smtp://anna:hunter2@mail.example.com"\n'
        "[worker]\nconcurrency = 3\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("STOKER_WORKER__LEASE", "1m")
    result = line("config", "show", "--origin", "--broker", "amqp://bob:hunter3@mq")
    assert "c2VjcmV0" not in result.output
    assert "hunter" not in result.output
    shown = line.json("config", "show", "--origin", "--broker", "amqp://bob:hunter3@mq")
    assert shown["worker.concurrency"] == {"value": 3, "origin": "file stoker.toml"}
    assert shown["worker.lease"] == {"value": 60, "origin": "STOKER_WORKER__LEASE"}
    assert shown["broker"]["origin"] == "command line"
    assert shown["tasks.smtp"]["value"] == "smtp://anna:***@mail.example.com"
    assert shown["fleet.min"] == {"value": 2, "origin": "default"}


def test_what_the_app_says_wins_over_the_environment_and_loses_to_the_command_line(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("shop_of_test_look.py").write_text(
        "from stoker.app.stoker import Stoker\napp = Stoker('sqlite:///shop.db')\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(line.folder))
    words = ("config", "show", "--app", "shop_of_test_look:app")
    assert line.json(*words)["store"] == "sqlite:///shop.db"
    assert line.json(*words, "--origin")["store"]["origin"] == "app shop_of_test_look:app"
    assert line.json(*words, "--store", "sqlite:///x.db")["store"] == "sqlite:///x.db"


def test_an_unknown_key_in_the_file_is_refused_with_the_nearest(line: Line) -> None:
    Path("stoker.toml").write_text("[worker]\nconcurency = 3\n", encoding="utf-8")
    error = line.error("config", "show", code=2)
    assert error["code"] == "invalid_config"
    assert "did you mean 'worker.concurrency'" in error["message"]


def test_common_options_may_stand_before_the_command(line: Line) -> None:
    before = line.json("--store", "sqlite:///a.db", "config", "show")
    assert before["store"] == "sqlite:///a.db"
    both = line.json("--store", "sqlite:///a.db", "config", "show", "--store", "sqlite:///b.db")
    assert both["store"] == "sqlite:///b.db"


def test_db_shows_migrates_and_prints(line: Line) -> None:
    assert line.json("db", "status")["current"] == line.json("db", "status")["latest"]
    assert "the layout is version" in line("db", "migrate").stdout
    assert "create table" in line("db", "sql", "--all").stdout.lower()
    assert "no migration is pending" in line("db", "sql").stderr


def test_going_back_wants_to_be_sure(line: Line) -> None:
    line("send", "send_email", "to=a@example.com")
    assert line.error("db", "migrate", "--to", "0", code=2)["code"] == "invalid_option"
    assert "would take back 1" in line("db", "migrate", "--to", "0", "--dry-run").stdout
    assert len(line.json("jobs", "ls")["jobs"]) == 1
    assert "took back 1" in line("db", "migrate", "--to", "0", "--yes").stdout
    assert line.json("jobs", "ls")["jobs"] == []
    assert line.error("db", "migrate", "--to", "99", code=2)["code"] == "unsupported"


def test_doctor_finds_nothing_wrong_here(line: Line) -> None:
    found = line.json("doctor")
    verdicts = {f["check"]: f["verdict"] for f in found["findings"]}
    assert found["ok"] is True
    assert verdicts["python"] == verdicts["sqlite"] == verdicts["store"] == "ok"
    assert "can be lost" in line("doctor").stdout


def test_doctor_names_each_problem_with_its_fix(line: Line) -> None:
    Path("stoker.toml").write_text(
        '[tasks]\nencryption_key = "short"\n[worker]\nbeat = "25s"\n', encoding="utf-8"
    )
    Path("jobs").mkdir()
    Path("jobs/broken.py").write_text("1/0\n", encoding="utf-8")
    Path("text.db").write_text("this is no database\n" * 100, encoding="utf-8")
    found = line.json("doctor", "--store", "sqlite:///text.db", code=1)
    wrong = {f["check"]: f for f in found["findings"] if f["verdict"] == "problem"}
    assert {"tasks.encryption_key", "worker.beat", "tasks", "store"} <= set(wrong)
    assert all(finding["fix"] for finding in wrong.values())


def test_doctor_ends_with_3_when_the_store_cannot_be_reached(line: Line) -> None:
    url = f"postgresql://eve:secret@127.0.0.1:{free_port()}/jobs"
    found = line.json("doctor", "--store", url, code=3)
    [store] = [f for f in found["findings"] if f["check"] == "store"]
    assert (store["verdict"], store["code"]) == ("problem", "unavailable")
    shown = line("doctor", "--store", url, code=3).output
    assert "eve:***@127.0.0.1" in shown
    assert "secret" not in shown


def test_doctor_says_what_is_at_risk_and_what_to_do(line: Line) -> None:
    shown = line("doctor", "--store", f"{line.store}?durability=fast").stdout
    assert "At risk: jobs that were accepted. Do: leave ?durability=fast out" in shown
    assert "no problem found, 1 warning" in shown


def test_doctor_survives_a_configuration_that_cannot_be_read(line: Line) -> None:
    Path("stoker.toml").write_text("[worker\n", encoding="utf-8")
    found = line.json("doctor", code=1)
    assert [f["check"] for f in found["findings"] if f["verdict"] == "problem"] == ["settings"]


def test_generate_submits_exactly_so_many_with_exactly_the_share_that_fails(line: Line) -> None:
    answer = line.json("generate", "--jobs", "40", "--rate", "5000/s", "--fail", "0.1")
    assert answer == {"submitted": 40}
    jobs = line.json("jobs", "ls", "--limit", "100")["jobs"]
    assert len(jobs) == 40
    assert sum("failures" in job["payload"] for job in jobs) == 4
    assert {job["task"] for job in jobs} == {"trial"}


@pytest.mark.parametrize("words", [("--jobs", "0"), ("--fail", "2"), ("--rate", "fast")])
def test_generate_refuses_what_means_nothing(line: Line, words: tuple[str, ...]) -> None:
    assert line.error("generate", *words, code=2)["code"] == "invalid_option"


def test_send_test_submits_a_job_of_each_quick_kind(line: Line) -> None:
    jobs = line.json("send-test", "--no-wait")["jobs"]
    assert [job["task"] for job in jobs] == [
        "trial",
        "compress",
        "decompress",
        "checksum",
        "analysis.batch",
        "csv.statistics",
        "send_email",
    ]
    assert line.error("send-test", "scrape_website", code=2)["code"] == "invalid_option"


def test_send_test_says_when_nobody_works(line: Line) -> None:
    error = line.error("send-test", "trial", "--timeout-wait", "0.1", code=4)
    assert "Is a worker running?" in error["message"]
