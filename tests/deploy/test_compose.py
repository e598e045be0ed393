"""docker-compose.yml, as `docker compose config` understands it. No container is started here."""

import os
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from stoker.connect import BROKERS, STORES
from stoker.core.duration import seconds
from tests.deploy.files import COMPOSE, DOCKERFILE, ROOT

STOKER = {"server", "worker", "keeper"}
COMBINATIONS = {
    "sqlite": set(),
    "postgres": {"postgres", "migrate"},
    "rabbitmq-redis": {"rabbitmq", "redis"},
    "postgres-rabbitmq-redis": {"postgres", "migrate", "rabbitmq", "redis"},
    "kafka-redis": {"kafka", "redis"},
}
WRITES = {"rabbitmq", "kafka"}
"""Engines whose images write into their own file systems."""
_COMPOSE = find_spec("compose")
MAKE_ENV = ROOT / "deploy" / "compose" / "make-env"


def make_env(file: Path, combination: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "STOKER_ENV_FILE": str(file)}  # noqa: TID251 - handed on
    return subprocess.run(
        [str(MAKE_ENV), combination], env=variables, capture_output=True, text=True, check=False
    )


def compose(env: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # The program itself: the script that the package puts before it hides its exit code.
    assert _COMPOSE is not None
    assert _COMPOSE.origin is not None
    program = Path(_COMPOSE.origin).with_name("docker-compose")
    return subprocess.run(
        [str(program), "--file", str(COMPOSE), "--env-file", str(env), *words],
        env={"PATH": "/usr/bin:/bin", "HOME": str(env.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module", params=COMBINATIONS)
def combination(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def config(combination: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    env = tmp_path_factory.mktemp("compose") / ".env"
    assert make_env(env, combination).returncode == 0
    told = compose(env, "config")
    assert told.returncode == 0, told.stderr
    found: dict[str, Any] = yaml.safe_load(told.stdout)
    return found


def test_each_combination_has_its_engines_and_no_other(
    combination: str, config: dict[str, Any]
) -> None:
    assert set(config["services"]) == STOKER | COMBINATIONS[combination]


def test_the_urls_lead_to_engines_that_are_there(config: dict[str, Any]) -> None:
    services = config["services"]
    for name in STOKER:
        variables = services[name]["environment"]
        store = urlsplit(variables["STOKER_STORE"])
        assert store.scheme in STORES
        assert store.hostname is None or store.hostname in services
        if variables["STOKER_BROKER"]:
            broker = urlsplit(variables["STOKER_BROKER"])
            assert broker.scheme in BROKERS
            assert broker.hostname in services
            assert broker.hostname in services[name]["depends_on"]
        if store.hostname:
            assert store.hostname in services[name]["depends_on"]


def test_nothing_is_reached_from_elsewhere(config: dict[str, Any]) -> None:
    published = [
        (name, port.get("host_ip"))
        for name, service in config["services"].items()
        for port in service.get("ports", ())
    ]
    assert published == [("server", "127.0.0.1")]
    assert config["services"]["server"]["environment"]["STOKER_SERVER__REQUIRE_KEY"] == "always"
    engines = set(config["services"]) - STOKER
    assert all(set(config["services"][name]["networks"]) == {"inside"} for name in engines)
    assert config["networks"]["inside"]["internal"] is True


def test_no_service_may_do_more_than_it_needs(config: dict[str, Any]) -> None:
    for name, service in config["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only", False) == (name not in WRITES), name
        assert not service.get("privileged"), name
        assert service["logging"]["options"]["max-size"], name


def test_images_are_pinned_and_built_from_stages_that_exist(config: dict[str, Any]) -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE.read_text("utf-8"), re.MULTILINE))
    for name, service in config["services"].items():
        assert re.search(r":\d+\.\d+", service["image"]), name
        if "build" in service:
            assert service["build"]["target"] in stages


def test_engines_are_waited_for_and_workers_may_drain(config: dict[str, Any]) -> None:
    services = config["services"]
    for name in set(services) - STOKER - {"migrate"}:
        assert services[name]["healthcheck"]["test"], name
    for name in STOKER:
        drain = seconds(services[name]["environment"]["STOKER_WORKER__DRAIN"])
        assert seconds(services[name]["stop_grace_period"]) > drain + 10


def test_a_worker_can_be_there_many_times(config: dict[str, Any]) -> None:
    worker = config["services"]["worker"]
    assert "container_name" not in worker
    assert not worker.get("ports")


def test_workers_in_c_come_with_a_profile_and_live_beside_the_gateway(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    assert make_env(env, "sqlite").returncode == 0
    env.write_text(env.read_text().replace("PROFILES=sqlite", "PROFILES=sqlite,c-worker"), "utf-8")
    told = compose(env, "config")
    assert told.returncode == 0, told.stderr
    services = yaml.safe_load(told.stdout)["services"]
    assert set(services) == STOKER | {"c-worker"}
    worker, server = services["c-worker"], services["server"]
    assert worker["network_mode"] == "service:server"
    port = server["command"][server["command"].index("--gateway-port") + 1]
    assert f"tcp://127.0.0.1:{port}" in worker["command"]
    # The gateway is on loopback, and believes those alone who show the token.
    assert "STOKER_GATEWAY__HOST" not in server["environment"]
    token = worker["environment"]["STOKER_TOKEN"]
    assert server["environment"]["STOKER_GATEWAY__WORKER_TOKEN"] == token
    assert len(token) == 48
    assert worker["cap_drop"] == ["ALL"]
    assert worker["read_only"] is True
    drain = seconds(worker["environment"]["STOKER_WORKER__DRAIN"])
    assert seconds(worker["stop_grace_period"]) > drain + 10
    assert worker["build"]["target"] == "cworker"


def test_every_file_that_is_mounted_is_there(config: dict[str, Any]) -> None:
    mounted = [
        volume["source"]
        for service in config["services"].values()
        for volume in service.get("volumes", ())
        if volume["type"] == "bind" and "jobs" not in volume["source"]
    ]
    assert [file for file in mounted if not Path(file).is_file()] == []
    named = {
        volume["source"]
        for service in config["services"].values()
        for volume in service.get("volumes", ())
        if volume["type"] == "volume"
    }
    assert named <= set(config["volumes"])


def test_nothing_starts_without_passwords(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    assert make_env(env, "postgres").returncode == 0
    lines = env.read_text("utf-8").splitlines()
    for missing in (line for line in lines if "PASSWORD=" in line):
        env.write_text("\n".join(line for line in lines if line != missing), "utf-8")
        told = compose(env, "config")
        assert told.returncode != 0
        assert "make an .env with deploy/compose/make-env" in told.stderr
    env.write_text("", "utf-8")
    assert compose(env, "config").returncode != 0


def test_passwords_are_new_each_time_and_nobody_elses(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert make_env(first, "postgres").returncode == 0
    assert make_env(second, "postgres").returncode == 0
    found = re.findall(r"PASSWORD=(\w+)$", first.read_text() + second.read_text(), re.MULTILINE)
    assert len(found) == len(set(found)) == 12
    assert all(len(secret) == 48 for secret in found)
    assert first.stat().st_mode & 0o777 == 0o600
    again = make_env(first, "sqlite")
    assert again.returncode == 1
    assert "is there already" in again.stderr
    assert make_env(tmp_path / "third", "oracle").returncode == 2
