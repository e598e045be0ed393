"""API keys: their text, what is kept of it, and what they may be."""

from datetime import UTC, datetime

import pytest

from stoker.core.clock import SystemClock
from stoker.core.errors import InvalidOption
from stoker.core.keys import (
    LOGIN_PREFIX,
    KeyInfo,
    KeySpec,
    Scope,
    digest_of,
    id_of,
    included,
    make_key,
    make_login,
    proves,
)
from stoker.testing import FakeClock

CLOCK = SystemClock()
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def kept(spec: KeySpec) -> KeyInfo:
    return KeyInfo(spec=spec, created_at=NOW)


def test_a_key_is_recognised_by_its_text_and_found_by_its_id() -> None:
    spec, text = make_key(CLOCK, name="ci", scopes=["submit"])
    prefix, key_id, secret = text.split("_")
    assert (prefix, key_id) == ("stk", spec.id)
    assert len(bytes.fromhex(secret)) * 8 == 256
    assert id_of(text) == spec.id
    assert id_of(text, prefix=LOGIN_PREFIX) is None


def test_what_is_kept_holds_nothing_of_the_secret() -> None:
    spec, text = make_key(CLOCK, name="ci", scopes=["submit"])
    secret = text.rpartition("_")[2]
    assert not any(secret[at : at + 16] in repr(spec) for at in range(0, 64, 16))


def test_two_keys_have_nothing_in_common() -> None:
    texts = {make_key(CLOCK, name="ci", scopes=["read"])[1] for _ in range(100)}
    assert len(texts) == len({text.rpartition("_")[2] for text in texts}) == 100


@pytest.mark.parametrize("text", ["", "stk_", "stk_0123456789abcdef_", "stk_x_y", "Bearer", "é"])
def test_what_is_no_key_has_no_id(text: str) -> None:
    assert id_of(text) is None


def test_a_key_is_proved_by_its_whole_text_only() -> None:
    spec, text = make_key(CLOCK, name="ci", scopes=["read"])
    other = make_key(CLOCK, name="ci", scopes=["read"])[1]
    assert proves(text, kept(spec))
    assert not proves(other, kept(spec))
    assert not proves(text[:-1], kept(spec))
    assert not proves(text.upper(), kept(spec))
    assert not proves(text, None)
    assert not proves("", None)


def test_the_digest_is_sha256_of_the_text() -> None:
    assert digest_of("abc").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_a_log_in_can_do_what_its_key_can_and_has_a_text_of_its_own() -> None:
    spec, text = make_key(CLOCK, name="eve", scopes=["operate"], queues=["a"], tenant="acme")
    login, shown = make_login(CLOCK, spec, expires_in=60)
    assert (login.scopes, login.queues, login.tenant) == (spec.scopes, ("a",), "acme")
    assert (login.login_of, login.expires_in) == (spec.id, 60)
    assert id_of(shown, prefix=LOGIN_PREFIX) == login.id != spec.id
    assert id_of(shown) is None
    assert not proves(text, kept(login))


def test_scopes_bring_others_along() -> None:
    assert included([Scope.READ]) == {Scope.READ}
    assert included([Scope.SUBMIT]) == {Scope.SUBMIT}
    assert included([Scope.OPERATE]) == {Scope.OPERATE, Scope.READ}
    assert included([Scope.WORKER]) == {Scope.WORKER}
    assert included([Scope.ADMIN]) == set(Scope)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "a b"}, "key is 'a b'"),
        ({"scopes": []}, "at least one scope"),
        ({"scopes": ["root"]}, "'root' is no scope"),
        ({"queues": ["a b"]}, "queue is 'a b'"),
        ({"tenant": ""}, "tenant is ''"),
        ({"tenant": "a\0b"}, "tenant is"),
        ({"tenant": "x" * 501}, "1 to 500"),
        ({"expires_in": 0.0}, "valid for 0 seconds"),
        ({"scopes": ["admin"], "tenant": "acme"}, "has no bounds"),
        ({"scopes": ["admin"], "queues": ["a"]}, "has no bounds"),
        ({"scopes": ["worker"], "tenant": "acme"}, "of every tenant"),
    ],
)
def test_a_key_that_means_nothing_is_refused(wrong: dict[str, object], said: str) -> None:
    given: dict[str, object] = {"name": "ci", "scopes": ["read"]}
    with pytest.raises(InvalidOption, match=said):
        make_key(CLOCK, **(given | wrong))  # type: ignore[arg-type]


def test_a_key_is_valid_until_it_runs_out_or_is_revoked(fake_clock: FakeClock) -> None:
    spec, _ = make_key(fake_clock, name="ci", scopes=["read"])
    assert kept(spec).is_valid(NOW.timestamp())
    ends = KeyInfo(spec=spec, created_at=NOW, expires_at=NOW)
    assert ends.is_valid(NOW.timestamp() - 1)
    assert not ends.is_valid(NOW.timestamp())
    assert not KeyInfo(spec=spec, created_at=NOW, revoked_at=NOW).is_valid(0.0)
