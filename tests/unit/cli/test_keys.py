"""``stoker keys``: made and shown once, listed without secrets, revoked."""

from pathlib import Path

import pytest

from stoker.core.keys import digest_of, id_of
from tests.unit.cli.conftest import Line


def test_a_key_is_printed_alone_and_once(line: Line) -> None:
    result = line("keys", "create", "ci", "--scope", "submit", "--scope", "read")
    text = result.stdout.rstrip("\n")
    assert id_of(text)
    assert "not shown again" in result.stderr
    listed = line("keys", "ls")
    shown = line.json("keys", "ls")
    assert text not in listed.stdout
    assert text not in str(shown)
    [key] = shown["keys"]
    assert key["id"] == id_of(text)
    assert (key["name"], key["scopes"], key["queues"]) == ("ci", ["submit", "read"], [])
    assert (key["tenant"], key["expires_at"], key["revoked_at"]) == (None, None, None)
    assert "digest" not in key


def test_a_key_made_for_a_program_comes_as_json(line: Line) -> None:
    words = ("keys", "create", "acme", "--scope", "operate", "--queue", "a", "--queue", "b")
    made = line.json(*words, "--tenant", "acme", "--expires", "30d")
    assert id_of(made["key"]) == made["id"]
    assert (made["queues"], made["tenant"]) == (["a", "b"], "acme")
    assert made["expires_at"] > made["created_at"]


def test_the_store_holds_the_digest_and_not_the_key(line: Line) -> None:
    text = line("keys", "create", "ci", "--scope", "admin").stdout.strip()
    kept = b"".join(file.read_bytes() for file in Path(line.folder).glob("stoker.db*"))
    assert digest_of(text).encode() in kept
    assert text.rpartition("_")[2].encode() not in kept


def test_a_key_is_revoked_by_name_or_id_and_stays_in_the_list(line: Line) -> None:
    line("keys", "create", "one", "--scope", "read")
    second = line.json("keys", "create", "two", "--scope", "read")["id"]
    assert "revoked one" in line("keys", "revoke", "one").stdout
    assert line.json("keys", "revoke", second)["revoked_at"]
    rows = line.lines("keys", "ls")
    assert len(rows) == 3
    assert all("revoked" in row for row in rows[1:])
    assert line.error("keys", "revoke", "one", code=2)["code"] == "key_not_found"
    assert line.error("keys", "revoke", "nobody", code=2)["code"] == "key_not_found"


def test_a_name_serves_again_when_its_key_was_revoked(line: Line) -> None:
    line("keys", "create", "ci", "--scope", "read")
    assert line.error("keys", "create", "ci", "--scope", "read", code=1)["code"] == "refused"
    line("keys", "revoke", "ci")
    line("keys", "create", "ci", "--scope", "read")


@pytest.mark.parametrize(
    "words",
    [
        ("ci",),
        ("ci", "--scope", "root"),
        ("a b", "--scope", "read"),
        ("ci", "--scope", "read", "--expires", "soon"),
        ("ci", "--scope", "admin", "--tenant", "acme"),
    ],
)
def test_a_key_that_means_nothing_is_refused(line: Line, words: tuple[str, ...]) -> None:
    line("keys", "create", *words, code=2)
    assert line.json("keys", "ls") == {"keys": []}


def test_the_trail_says_who_made_and_revoked_a_key(line: Line) -> None:
    line("keys", "create", "ci", "--scope", "read")
    line("keys", "revoke", "ci")
    events = line.json("events")["events"]
    found = {event["kind"]: event["actor"] for event in events}
    assert set(found) == {"key_created", "key_revoked"}
    assert all(actor.startswith("cli:") for actor in found.values())
