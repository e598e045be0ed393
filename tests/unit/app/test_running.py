"""From a configuration to something that runs."""

import asyncio
from pathlib import Path

import pytest

from stoker.app.running import build_worker, keeping, know_jobs, make_app
from stoker.app.stoker import Stoker
from stoker.core.errors import InvalidConfig
from stoker.core.store import Store
from stoker.keeper.keeper import Keeper
from stoker.keeper.leader import NAME
from stoker.settings import Settings, TaskSettings, load
from stoker.testing import FakeClock, wait_until


def _module(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / f"{name}.py").write_text(
        f"from stoker.app.stoker import Stoker\n{text}\n", encoding="utf-8"
    )
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))


def test_without_a_name_there_is_an_app_with_the_configuration(tmp_path: Path) -> None:
    loaded = load(env={"STOKER_RETRY__MAX_RETRIES": "9"}, folder=tmp_path)
    app = make_app(loaded, actor="cli:anna")
    assert app.settings == loaded.settings
    assert app.defaults.retry.max_retries == 9
    assert app.actor == "cli:anna"


def test_what_the_code_says_wins_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _module(tmp_path, "shop_one", "app = Stoker('sqlite:///shop.db')", monkeypatch)
    monkeypatch.setenv("STOKER_STORE", "sqlite:///env.db")
    monkeypatch.setenv("STOKER_WORKER__CONCURRENCY", "3")
    app = make_app(load(overrides={"app": "shop_one:app"}), actor="a")
    assert app.settings.store == "sqlite:///shop.db"
    assert app.settings.worker.concurrency == 3


def test_the_command_line_wins_over_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _module(tmp_path, "shop_two", "app = Stoker('sqlite:///shop.db')", monkeypatch)
    overrides = {"app": "shop_two:app", "store": "sqlite:///here.db", "worker.concurrency": 5}
    app = make_app(load(overrides=overrides), actor="a")
    assert app.settings.store == "sqlite:///here.db"
    assert app.settings.worker.concurrency == 5


def test_a_file_named_on_the_command_line_reaches_an_app_that_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _module(tmp_path, "shop_three", "app = Stoker()", monkeypatch)
    (tmp_path / "other.toml").write_text(
        'store = "sqlite:///other.db"\n[tasks]\nencryption_key = "abc"\n', encoding="utf-8"
    )
    app = make_app(load("other.toml", overrides={"app": "shop_three:app"}), actor="a")
    assert app.settings.store == "sqlite:///other.db"
    key = app.settings.tasks.encryption_key
    assert key is not None
    assert key.reveal() == "abc"


def test_an_app_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="does not exist here"):
        make_app(load(overrides={"app": "no_such_shop:app"}, folder=tmp_path), actor="a")


def test_a_broken_jobs_folder_is_told_and_does_not_stop_a_submitter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    (jobs / "a.py").write_text("def run(payload): ...", encoding="utf-8")
    (jobs / "b.py").write_text("1/0", encoding="utf-8")
    app = Stoker(settings=Settings())
    problem = know_jobs(app)
    assert problem is not None
    assert "b.py" in problem.message
    assert "a" in app.registry


async def test_a_worker_of_an_app_runs_its_jobs() -> None:
    app = Stoker(settings=Settings(store="memory://", tasks=TaskSettings(standard=False)))

    @app.task
    def shout(text: str) -> str:
        return text.upper()

    async def work(store: Store) -> str:
        worker = build_worker(app, store, name="w1")
        async with asyncio.TaskGroup() as group:
            running = group.create_task(worker.run())
            result = await (await shout.asubmit("hi")).aresult(timeout="30s")
            worker.drain()
            assert await running == "drained"
        return result

    async with app:
        assert await app.arun(work) == "HI"


async def test_a_keeper_beside_a_block_resigns_when_the_block_ends() -> None:
    async with Stoker(settings=Settings(store="memory://")) as app:

        async def work(store: Store) -> None:
            keeper = Keeper(
                store, settings=app.settings.keeper, lease=30, clock=FakeClock(), name="k"
            )
            async with keeping(keeper):
                await wait_until(lambda: keeper.is_leading, "the keeper leads")
            assert await store.lead(NAME, "other", ttl=1) is not None

        await app.arun(work)


async def test_no_keeper_is_no_keeper() -> None:
    async with keeping(None):
        assert len(asyncio.all_tasks()) == 1
