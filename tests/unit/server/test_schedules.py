from typing import Any

import pytest

from stoker.core.events import Kind
from stoker.testing import FakeClock
from stoker.testing.conformance.hand import Hand
from tests.unit.server.asking import Asking

MAIL = {"to": "user@example.com", "subject": "Hello", "body": "Test"}
DAILY: dict[str, Any] = {
    "name": "daily-report",
    "job_type": "send_email",
    "cron_expression": "0 9 * * *",
    "payload": MAIL,
    "priority": "medium",
}
EVERY: dict[str, Any] = {
    "name": "tick",
    "task": "shout",
    "interval": "30s",
    "payload": {"text": "tick"},
}


async def test_the_body_of_the_issue_works_as_it_stands(ask: Asking, hand: Hand) -> None:
    answer = await ask.post("/scheduled-jobs", DAILY)
    view = answer.ok(201)
    assert (view["name"], view["task"], view["payload"]) == ("daily-report", "send_email", MAIL)
    assert (view["cron_expression"], view["interval"], view["timezone"]) == (
        "0 9 * * *",
        None,
        "UTC",
    )
    assert view["next_at"] == "2030-01-01T09:00:00Z"
    assert view["next_firings"] == [f"2030-01-{day:02}T09:00:00Z" for day in range(1, 11)]
    assert view["in_words"] == "At 09:00 every day"
    assert answer.headers["location"] == "/api/v1/scheduled-jobs/daily-report"
    [event] = await hand.events(Kind.SCHEDULE_PUT)
    assert event.actor == "api:10.1.2.3"


async def test_every_option_of_a_schedule_is_kept(ask: Asking) -> None:
    options = {
        "interval": 90,
        "timezone": "Europe/Berlin",
        "catch_up": "all",
        "paused": True,
        "queue": "q",
        "max_retries": 9,
        "timeout": "5m",
        "tenant": "acme",
        "unique_key": "one",
    }
    view = (await ask.post("/scheduled-jobs", EVERY | options)).ok(201)
    kept = {key: view[key] for key in options}
    assert kept == options | {"interval": 90.0, "timeout": 300.0}
    [listed] = (await ask.get("/scheduled-jobs")).ok()["schedules"]
    assert listed == view == (await ask.get("/scheduled-jobs/tick")).ok()


@pytest.mark.parametrize(
    ("change", "refusal", "said"),
    [
        ({"interval": None}, (422, "invalid_schedule"), "one rule"),
        ({"cron_expression": "0 9 * * *"}, (422, "invalid_schedule"), "one rule"),
        ({"interval": None, "cron_expression": "61 * * * *"}, (422, "invalid_schedule"), "minute"),
        ({"interval": None, "cron_expression": "5m"}, (422, "invalid_schedule"), "fields"),
        ({"interval": None, "cron_expression": "every 5m"}, (422, "invalid_schedule"), "fields"),
        ({"interval": None, "cron_expression": "0 0 30 2 *"}, (422, "invalid_schedule"), ""),
        ({"interval": "0.1s"}, (422, "invalid_schedule"), "at least 1 second"),
        ({"interval": "soon"}, (422, "invalid_option"), "interval"),
        ({"timezone": "Europe/Berlon"}, (422, "invalid_schedule"), "Europe/Berlin"),
        ({"catch_up": "some"}, (422, "invalid_schedule"), "skip, last or all"),
        ({"name": "a b"}, (422, "invalid_option"), "name"),
        ({"task": "shuot"}, (400, "unknown_task"), "shout"),
        ({"payload": {"text": 1}}, (422, "invalid_arguments"), "text"),
        ({"delay": 5}, (422, "invalid_option"), "delay"),
    ],
)
async def test_a_schedule_that_means_nothing_is_refused(
    ask: Asking, change: dict[str, Any], refusal: tuple[int, str], said: str
) -> None:
    error = (await ask.post("/scheduled-jobs", EVERY | change)).refused(*refusal)
    assert said in error["message"]
    assert (await ask.get("/scheduled-jobs")).ok()["schedules"] == []


async def test_a_name_that_is_taken_is_refused_and_the_schedule_stays(ask: Asking) -> None:
    before = (await ask.post("/scheduled-jobs", EVERY)).ok(201)
    error = (await ask.post("/scheduled-jobs", EVERY | {"interval": "1h"})).refused(409, "refused")
    assert "PATCH /api/v1/scheduled-jobs/tick" in error["message"]
    assert (await ask.get("/scheduled-jobs/tick")).ok() == before


async def test_a_patch_changes_what_it_names_and_nothing_else(ask: Asking) -> None:
    await ask.post("/scheduled-jobs", EVERY | {"max_retries": 9, "tenant": "acme"})
    view = (await ask.patch("/scheduled-jobs/tick", {"payload": {"text": "tock"}})).ok()
    assert view["payload"] == {"text": "tock"}
    assert (view["interval"], view["max_retries"], view["tenant"]) == (30.0, 9, "acme")
    view = (await ask.patch("/scheduled-jobs/tick", {"cron_expression": "@daily"})).ok()
    assert (view["cron_expression"], view["interval"]) == ("@daily", None)
    assert view["next_at"] == "2030-01-02T00:00:00Z"
    view = (await ask.patch("/scheduled-jobs/tick", {"timezone": "Asia/Tokyo"})).ok()
    assert view["next_at"] == "2030-01-01T15:00:00Z"
    view = (await ask.patch("/scheduled-jobs/tick", {"max_retries": 2, "priority": "low"})).ok()
    assert (view["max_retries"], view["priority"], view["payload"]) == (2, "low", {"text": "tock"})


async def test_a_patch_keeps_the_next_firing_when_the_rule_stays(
    ask: Asking, fake_clock: FakeClock
) -> None:
    before = (await ask.post("/scheduled-jobs", EVERY)).ok(201)["next_at"]
    fake_clock.advance(10)
    view = (await ask.patch("/scheduled-jobs/tick", {"interval": "30s", "queue": "q"})).ok()
    assert (view["next_at"], view["queue"]) == (before, "q")


async def test_a_patch_to_another_task_checks_the_payload(ask: Asking) -> None:
    await ask.post("/scheduled-jobs", EVERY)
    (await ask.patch("/scheduled-jobs/tick", {"task": "add"})).refused(422, "invalid_arguments")
    view = (await ask.patch("/scheduled-jobs/tick", {"task": "add", "payload": {"a": 1}})).ok()
    assert (view["task"], view["queue"], view["max_retries"]) == ("add", "sums", 1)


async def test_pause_and_resume_by_verb_and_by_patch(
    ask: Asking, fake_clock: FakeClock, hand: Hand
) -> None:
    await ask.post("/scheduled-jobs", EVERY)
    assert (await ask.post("/scheduled-jobs/tick/pause")).ok()["paused"] is True
    fake_clock.advance(100)
    view = (await ask.post("/scheduled-jobs/tick/resume")).ok()
    assert (view["paused"], view["next_at"]) == (False, "2030-01-01T00:02:00Z")
    assert (await ask.patch("/scheduled-jobs/tick", {"paused": True})).ok()["paused"] is True
    assert (await ask.patch("/scheduled-jobs/tick", {"paused": False})).ok()["paused"] is False
    kinds = {event.kind for event in await hand.events()}
    assert {Kind.SCHEDULE_PAUSED, Kind.SCHEDULE_RESUMED} <= kinds


async def test_run_submits_the_job_now_although_it_is_paused(ask: Asking, hand: Hand) -> None:
    before = (await ask.post("/scheduled-jobs", EVERY | {"paused": True})).ok(201)
    job = (await ask.post("/scheduled-jobs/tick/run")).ok(201)
    assert (job["task"], job["schedule"], job["state"]) == ("shout", "tick", "queued")
    other = (await ask.post("/scheduled-jobs/tick/run")).ok(201)
    assert other["id"] != job["id"]
    after = (await ask.get("/scheduled-jobs/tick")).ok()
    assert (after["next_at"], after["fired"]) == (before["next_at"], 2)
    assert after["last_job_id"] == other["id"]
    assert len(await hand.all_jobs(schedule="tick")) == 2


async def test_a_removed_schedule_is_gone_and_its_jobs_stay(ask: Asking, hand: Hand) -> None:
    await ask.post("/scheduled-jobs", EVERY)
    job = (await ask.post("/scheduled-jobs/tick/run")).ok(201)
    assert (await ask.delete("/scheduled-jobs/tick")).ok()["name"] == "tick"
    (await ask.get("/scheduled-jobs/tick")).refused(404, "schedule_not_found")
    assert [found.id for found in await hand.all_jobs()] == [job["id"]]


async def test_a_schedule_that_nobody_made_is_not_found(ask: Asking) -> None:
    path = "/scheduled-jobs/nothing"
    (await ask.get(path)).refused(404, "schedule_not_found")
    (await ask.patch(path, {"paused": True})).refused(404, "schedule_not_found")
    (await ask.delete(path)).refused(404, "schedule_not_found")
    for verb in ("run", "pause", "resume"):
        (await ask.post(f"{path}/{verb}")).refused(404, "schedule_not_found")
