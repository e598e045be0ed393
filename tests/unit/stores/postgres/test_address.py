"""The URL of a store."""

import pytest
from psycopg.conninfo import conninfo_to_dict

from stoker.connect import open_store
from stoker.core.errors import InvalidConfig, NotOpen
from stoker.stores.postgres.address import parse

PLAIN = "postgresql://eve:s%20cret@db.example:6543/jobs"


def test_what_is_not_said_has_a_default() -> None:
    address = parse("postgresql://db.example/jobs")
    assert (address.schema, address.prepare, address.connections, address.timeout) == (
        "stoker",
        True,
        4,
        30.0,
    )
    known = conninfo_to_dict(address.conninfo)
    assert (known["host"], known["dbname"], known["connect_timeout"]) == (
        "db.example",
        "jobs",
        "10",
    )


def test_what_libpq_knows_is_handed_on() -> None:
    address = parse(f"{PLAIN}?sslmode=require&schema=work&connect_timeout=3&prepare=off")
    known = conninfo_to_dict(address.conninfo)
    assert (known["sslmode"], known["connect_timeout"]) == ("require", "3")
    assert (known["user"], known["password"], known["port"]) == ("eve", "s cret", "6543")
    assert (address.schema, address.prepare, address.channel) == ("work", False, "stoker_work")


def test_several_hosts_are_libpqs_business() -> None:
    address = parse("postgres://a:1,b:2/jobs?target_session_attrs=read-write")
    known = conninfo_to_dict(address.conninfo)
    assert (known["host"], known["port"]) == ("a,b", "1,2")


def test_the_password_is_shown_to_nobody() -> None:
    address = parse(PLAIN)
    assert "cret" not in address.url + address.place
    with pytest.raises(InvalidConfig) as caught:
        parse(f"{PLAIN}?schema=no-such")
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        "schema=",
        "schema=a-b",
        'schema=a"b',
        f"schema={'x' * 51}",
        "prepare=maybe",
        "connections=0",
        "connections=many",
        "timeout=-1",
        "sslmoed=require",
    ],
)
def test_an_option_that_means_nothing_is_refused(options: str) -> None:
    with pytest.raises(InvalidConfig, match="expected"):
        parse(f"{PLAIN}?{options}")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
async def test_connect_knows_both_schemes(scheme: str) -> None:
    store = open_store(f"{scheme}://db.example/jobs")
    assert store.info.engine == "postgresql"
    with pytest.raises(NotOpen):
        await store.counts()
