"""``stoker send``."""

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Line


def test_send_prints_the_id_alone_and_the_job_is_there(line: Line) -> None:
    [job_id] = line.lines("send", "send_email", "to=a@example.com", "subject=Hi")
    job = line.json("jobs", "show", job_id)
    assert job["id"] == job_id
    assert job["state"] == "queued"
    assert job["payload"] == {"to": "a@example.com", "subject": "Hi"}


def test_text_becomes_what_the_task_wants(line: Line) -> None:
    [job_id] = line.lines("send", "video.process", "height=144", "duration=0.5")
    assert line.json("jobs", "show", job_id)["payload"] == {"height": 144, "duration": 0.5}


class TestATaskThatOnlyAWorkerKnows:
    @pytest.fixture(autouse=True)
    def worker(self, line: Line) -> None:
        line.announce("shape.square")

    def test_what_looks_like_a_number_is_sent_as_text_with_a_warning(self, line: Line) -> None:
        words = ("side=3", "big=true", "unit=mm", "note=", "depth:=4", "at=[", 'quoted="q"')
        sent = line("send", "shape.square", *words)
        payload = line.json("jobs", "show", sent.stdout.strip())["payload"]
        assert (payload["side"], payload["big"], payload["depth"]) == ("3", "true", 4)
        assert "does not know the task 'shape.square'" in sent.stderr
        assert sent.stderr.strip().endswith("write side:=3 big:=true")

    def test_programs_are_warned_on_stderr_alone(self, line: Line) -> None:
        sent = line("send", "shape.square", "side=3", "--json")
        assert json.loads(sent.stdout)["payload"] == {"side": "3"}
        assert "side:=3" in json.loads(sent.stderr)["warning"]["message"]

    def test_texts_and_files_are_no_reason_to_warn(self, line: Line) -> None:
        (line.folder / "square.json").write_text('{"side": "3"}', encoding="utf-8")
        assert line("send", "shape.square", "@square.json", "unit=mm").stderr == ""
        assert line("send", "shape.square", "-", stdin='{"side": "3"}').stderr == ""

    def test_a_schedule_is_warned_of_as_well(self, line: Line) -> None:
        added = line("schedules", "add", "hourly", "--every", "1h", "shape.square", "side=3")
        assert "write side:=3" in added.stderr


def test_a_known_task_is_sent_without_a_warning(line: Line) -> None:
    assert line("send", "video.process", "height=144").stderr == ""


def test_every_option_reaches_the_job(line: Line) -> None:
    job = line.json(
        *("send", "send_email", "to=a@example.com", "--priority", "high", "--queue", "mail"),
        *("--in", "10m", "--max-retries", "7", "--timeout", "90s", "--unique", "k1"),
        *("--tenant", "acme", "--expires", "1h"),
    )
    assert job["state"] == "scheduled"
    assert (job["priority"], job["queue"], job["max_retries"]) == ("high", "mail", 7)
    assert (job["timeout"], job["unique_key"], job["tenant"]) == (90.0, "k1", "acme")
    assert job["expires_at"] is not None


def test_a_moment_may_be_given(line: Line) -> None:
    at = "2099-01-31T09:00:00+01:00"
    job = line.json("send", "send_email", "to=a@example.com", "--at", at)
    assert job["run_at"] == "2099-01-31T08:00:00Z"


def test_the_same_unique_key_gives_the_job_that_is_there(line: Line) -> None:
    words = ("send", "send_email", "to=a@example.com", "--unique", "k1")
    first = line(*words)
    second = line(*words)
    assert second.stdout == first.stdout
    assert "has that unique key already" in second.stderr


def test_a_payload_may_come_from_a_file_and_from_stdin(line: Line) -> None:
    (line.folder / "mail.json").write_text('{"to": "a@example.com"}', encoding="utf-8")
    [one] = line.lines("send", "send_email", "@mail.json", "subject=Hi")
    two = line("send", "send_email", "-", stdin='{"to": ["b@example.com"]}').stdout.strip()
    assert line.json("jobs", "show", one)["payload"] == {"to": "a@example.com", "subject": "Hi"}
    assert line.json("jobs", "show", two)["payload"] == {"to": ["b@example.com"]}


def test_a_file_in_the_jobs_folder_is_a_task_at_once(line: Line) -> None:
    jobs = line.folder / "jobs"
    jobs.mkdir()
    (jobs / "shout.py").write_text("queue = 'loud'\ndef run(payload): ...\n", encoding="utf-8")
    job = line.json("send", "shout", "text=hi", "anything:=[1]")
    assert job["queue"] == "loud"
    assert job["payload"] == {"text": "hi", "anything": [1]}


def test_a_broken_file_in_the_jobs_folder_is_a_warning(line: Line) -> None:
    jobs = line.folder / "jobs"
    jobs.mkdir()
    (jobs / "broken.py").write_text("import nothing_like_that\n", encoding="utf-8")
    result = line("send", "send_email", "to=a@example.com")
    assert "Warning:" in result.stderr
    assert "broken.py" in result.stderr


BAD: list[tuple[str, tuple[str, ...], int]] = [
    ("unknown_task", ("compres", "a=1"), 2),
    ("invalid_arguments", ("compress", "nothing=1"), 2),
    ("invalid_arguments", ("compress", "level=high"), 2),
    ("invalid_arguments", ("compress", "data"), 2),
    ("invalid_payload", ("compress", "data:=NaN"), 2),
    ("invalid_payload", ("compress", "data:=" + "[" * 10_000), 2),
    ("invalid_payload", ("compress", "-"), 2),
    ("invalid_option", ("compress", "--priority", "urgent"), 2),
    ("invalid_option", ("compress", "--in", "soon"), 2),
    ("invalid_option", ("compress", "--at", "2030-01-31"), 2),
    ("invalid_option", ("compress", "--timeout", "0"), 2),
    ("invalid_option", ("compress", "--max-retries", "-1"), 2),
    ("invalid_option", ("compress", "--queue", "no good"), 2),
    ("usage", ("compress", "--max-retries", "many"), 2),
    ("usage", (), 2),
]


@pytest.mark.parametrize(("code", "words", "exit_code"), BAD, ids=lambda x: str(x)[:30])
def test_bad_input_is_refused_with_its_code(
    line: Line, code: str, words: tuple[str, ...], exit_code: int
) -> None:
    error = json.loads(line("send", *words, "--json", code=exit_code, stdin="{} trailing").stderr)[
        "error"
    ]
    assert error["code"] == code
    assert line.json("jobs", "ls")["jobs"] == []


def test_ten_megabytes_are_too_large(line: Line) -> None:
    file = line.folder / "big.json"
    file.write_text('{"data": "' + "A" * 10_000_000 + '"}', encoding="utf-8")
    assert line.error("send", "compress", f"@{file}", code=2)["code"] == "payload_too_large"


def test_a_misspelled_task_names_the_nearest(line: Line) -> None:
    result = line("send", "send_mail", code=2)
    assert result.stderr == (
        "Error: no task is named 'send_mail'; did you mean 'send_email'? [unknown_task]\n"
    )


def test_waiting_gives_up_in_time_and_says_that_the_job_goes_on(line: Line) -> None:
    error = line.error(
        "send", "send_email", "to=a@example.com", "--wait", "--timeout-wait", "0.2s", code=4
    )
    assert error["code"] == "result_timeout"
    assert "it goes on" in error["message"]


def test_an_app_is_found_beside_the_user(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("shop_of_test_send.py").write_text(
        "from stoker.app.stoker import Stoker\n"
        "app = Stoker()\n"
        "@app.task(queue='orders')\n"
        "def order(item: str, amount: int = 1): ...\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(line.folder))
    job = line.json("send", "order", "item=tea", "amount=3", "--app", "shop_of_test_send:app")
    assert job["payload"] == {"item": "tea", "amount": 3}
    assert job["queue"] == "orders"


def test_an_app_that_is_not_there_is_a_usage_error(line: Line) -> None:
    error = line.error("send", "order", "--app", "no_such_module_here:app", code=2)
    assert error["code"] == "invalid_config"
