from pathlib import Path

import pytest

from stoker.core.errors import InvalidConfig
from stoker.settings import Secret, Settings, load, masked


def test_defaults_need_no_file_and_no_variable(tmp_path: Path) -> None:
    loaded = load(env={}, folder=tmp_path)
    assert loaded.settings == Settings()
    assert loaded.settings.store == "sqlite:///stoker.db"
    assert loaded.origins == {}


def test_the_command_line_wins_over_variables_and_these_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "stoker.toml").write_text(
        'store = "sqlite:///file.db"\nbroker = "amqp://file"\n[worker]\nconcurrency = 3\n'
    )
    loaded = load(
        env={"STOKER_BROKER": "amqp://env", "STOKER_WORKER__CONCURRENCY": "4"},
        overrides={"worker.concurrency": 5, "app": None},
        folder=tmp_path,
    )
    assert loaded.settings.store == "sqlite:///file.db"
    assert loaded.settings.broker == "amqp://env"
    assert loaded.settings.worker.concurrency == 5
    assert loaded.origins["broker"] == "STOKER_BROKER"
    assert loaded.origins["worker.concurrency"] == "command line"
    assert "stoker.toml" in loaded.origins["store"]


def test_yaml_is_read_like_toml(tmp_path: Path) -> None:
    (tmp_path / "stoker.yaml").write_text("worker:\n  lease: 2m\n  queues:\n    a: 2\n    b: 0\n")
    worker = load(env={}, folder=tmp_path).settings.worker
    assert worker.lease == 120.0
    assert worker.queues == {"a": 2, "b": 0}


def test_lists_and_tables_can_be_variables(tmp_path: Path) -> None:
    env = {"STOKER_QUEUES": "image.process, analysis.batch", "STOKER_WORKER__QUEUES": "a,b=3"}
    settings = load(env=env, folder=tmp_path).settings
    assert settings.queues == ("image.process", "analysis.batch")
    assert settings.worker.queues == {"a": 0, "b": 3}


def test_the_documented_short_names_work(tmp_path: Path) -> None:
    env = {"STOKER_LOG_LEVEL": "debug", "STOKER_WORKER_ID": "w7"}
    settings = load(env=env, folder=tmp_path).settings
    assert (settings.log.level, settings.worker.name) == ("debug", "w7")


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"STOKER_WORKER__CONCURENCY": "4"}, r"did you mean 'worker\.concurrency'"),
        ({"STOKER_WORKER__CONCURRENCY": "many"}, r"STOKER_WORKER__CONCURRENCY"),
        ({"STOKER_WORKER__CONCURRENCY": "0"}, r"expected at least 1"),
        ({"STOKER_WORKER__LEASE": "soon"}, r"'10m', '1h30m'"),
        ({"STOKER_WORKER__MEMORY": "a lot"}, r"'512MB'"),
        ({"STOKER_RETRY__BACKOFF": "wild"}, r"fixed, linear or exponential"),
        ({"STOKER_RETRY__MAX_RETRIES": "-1"}, r"expected 0 to"),
        ({"STOKER_LOG__LEVEL": "loud"}, r"debug, info, warning or error"),
        ({"STOKER_LOG__FORMAT": "xml"}, r"auto, text or json"),
        ({"STOKER_FLEET__MIN": "3", "STOKER_FLEET__MAX": "2"}, r"expected at least 3"),
    ],
)
def test_a_wrong_variable_is_named(env: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=said):
        load(env=env, folder=tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("worker = 3", r"worker .* is a table"),
        ("[worker\n", r"cannot be read"),
        ("[wroker]\nx = 1\n", r"unknown key 'wroker'"),
    ],
)
def test_a_wrong_file_is_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "stoker.toml").write_text(text)
    with pytest.raises(InvalidConfig, match=said):
        load(env={}, folder=tmp_path)


def test_two_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "stoker.toml").write_text("")
    (tmp_path / "stoker.yaml").write_text("")
    with pytest.raises(InvalidConfig, match="keep one of them"):
        load(env={}, folder=tmp_path)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="does not exist"):
        load(tmp_path / "nowhere.toml", env={})


def test_a_secret_is_not_shown_by_accident(tmp_path: Path) -> None:
    settings = load(env={"STOKER_TASKS__ENCRYPTION_KEY": "canary"}, folder=tmp_path).settings
    assert isinstance(settings.tasks.encryption_key, Secret)
    assert settings.tasks.encryption_key.reveal() == "canary"
    assert "canary" not in f"{settings!r} {settings.tasks.encryption_key}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("postgresql://me:pw@h:5/db", "postgresql://me:***@h:5/db"),
        ("redis://:pw@h", "redis://:***@h"),
        ("postgresql://h/db?password=pw&x=1", "postgresql://h/db?password=***&x=1"),
        ("amqp://me:p@ss@h/", "amqp://me:***@h/"),
    ],
)
def test_urls_are_shown_without_passwords(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_an_empty_broker_in_the_environment_is_none(tmp_path: Path) -> None:
    assert load(env={"STOKER_BROKER": ""}, folder=tmp_path).settings.broker is None
    given = load(env={"STOKER_BROKER": "amqp://mars"}, folder=tmp_path)
    assert given.settings.broker == "amqp://mars"
