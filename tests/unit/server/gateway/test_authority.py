"""Who a client is: tokens, certificates, and whose a session is."""

import hashlib
from typing import Any

import pytest

from stoker.core.errors import InvalidConfig, LeaseLost, Unauthenticated
from stoker.core.keys import Scope
from stoker.server.gateway.authority import (
    Authority,
    SessionBook,
    certificate_names,
)
from stoker.server.identity import EVERYBODY, Identity
from stoker.settings import GatewayClient, GatewaySettings, Secret, load

WORKER = frozenset({Scope.WORKER})
LONG = "a token of thirty-two characters"
OTHER = "another one, as long as the first"
DIGEST = Secret("sha256:" + hashlib.sha256(LONG.encode()).hexdigest())

CAPITALS = Secret("sha256:" + hashlib.sha256(LONG.encode()).hexdigest().upper())


def clients(**given: GatewayClient) -> GatewaySettings:
    return GatewaySettings(clients=given)


def test_without_clients_everybody_may_do_everything() -> None:
    authority = Authority(GatewaySettings())
    assert authority.is_open
    assert authority.identify(None) == authority.identify("whatever") == EVERYBODY


def test_the_two_plain_tokens_give_the_two_scopes() -> None:
    settings = GatewaySettings(token=Secret(LONG), worker_token=Secret(OTHER))
    authority = Authority(settings)
    assert not authority.is_open
    assert authority.identify(LONG).gateway_scope == "full"
    assert authority.identify(OTHER).gateway_scope == "worker"


@pytest.mark.parametrize(
    "stored",
    [
        Secret(LONG),
        DIGEST,
        Secret(DIGEST.reveal().upper()[:7].lower() + DIGEST.reveal()[7:].upper()),
    ],
)
def test_a_token_may_be_stored_as_its_digest(stored: Secret) -> None:
    authority = Authority(clients(press=GatewayClient(token=stored, queues=("print",))))
    assert authority.identify(LONG) == Identity("press", WORKER, frozenset({"print"}))


@pytest.mark.parametrize("shown", [None, "", LONG[:-1], LONG + " ", DIGEST.reveal(), "\ud800"])
def test_what_is_not_the_token_proves_nothing(shown: str | None) -> None:
    authority = Authority(clients(press=GatewayClient(token=DIGEST)))
    with pytest.raises(Unauthenticated):
        authority.identify(shown)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (GatewaySettings(token=Secret("short")), "gateway.token"),
        (GatewaySettings(worker_token=Secret("sha256:abc")), "gateway.worker_token"),
        (clients(x=GatewayClient()), "nobody could prove"),
        (clients(x=GatewayClient(token=DIGEST, scope="god")), "expected worker or full"),
        (clients(x=GatewayClient(token=DIGEST, scope="full", queues=("q",))), "no bounds"),
        (GatewaySettings(client_ca="ca.pem"), "no client is"),
    ],
)
def test_clients_that_make_no_sense_are_refused(settings: GatewaySettings, words: str) -> None:
    with pytest.raises(InvalidConfig, match=words):
        Authority(settings)


def certificate(*alternatives: tuple[str, str], name: str | None = None) -> dict[str, Any]:
    subject = () if name is None else ((("commonName", name),),)
    return {"subject": subject, "subjectAltName": alternatives}


def test_a_certificate_names_its_alternatives_before_its_common_name() -> None:
    shown = certificate(("DNS", "a"), ("URI", "b"), ("othername", "c"), name="d")
    assert list(certificate_names(shown)) == ["a", "b", "d"]


def test_a_certificate_is_believed_before_a_token() -> None:
    settings = GatewaySettings(
        client_ca="ca.pem",
        token=Secret(OTHER),
        clients={"press": GatewayClient(), "mail": GatewayClient(token=Secret(LONG))},
    )
    authority = Authority(settings)
    assert authority.identify(OTHER, certificate(("DNS", "press"))).name == "press"
    assert authority.identify(LONG, certificate(name="mail")).name == "mail"
    for token in (None, OTHER):
        with pytest.raises(Unauthenticated, match="owner"):
            authority.identify(token, certificate(name="mail"))
    with pytest.raises(Unauthenticated, match="'stranger'"):
        authority.identify(OTHER, certificate(name="stranger"))


def test_a_session_is_whose_it_was_first() -> None:
    book = SessionBook()
    one, two = Identity("one", WORKER), Identity("two", EVERYBODY.scopes)
    book.check("s", one)
    book.check("s", one)
    with pytest.raises(LeaseLost, match="begin one"):
        book.check("s", two)
    assert (book.owns("s", one), book.owns("s", two)) == (True, False)


def test_the_session_unused_for_longest_is_forgotten_first() -> None:
    book = SessionBook(kept=2)
    one, two = Identity("one", WORKER), Identity("two", WORKER)
    for session in ("a", "b", "a", "c"):
        book.check(session, one)
    book.check("b", two)
    assert book.owns("b", two)
    assert not book.owns("a", one)


def test_clients_are_read_from_the_configuration(tmp_path: Any) -> None:
    file = tmp_path / "stoker.toml"
    file.write_text(
        f'[gateway]\nport = 8001\n[gateway.clients.press]\ntoken = "{LONG}"\nqueues = ["print"]\n'
    )
    settings = load(file, env={}).settings.gateway
    assert settings.port == 8001
    assert LONG not in repr(settings)
    assert Authority(settings).identify(LONG).queues == {"print"}


def test_a_wrong_key_of_a_client_is_told(tmp_path: Any) -> None:
    file = tmp_path / "stoker.toml"
    file.write_text('[gateway.clients.press]\ntokn = "x"\n')
    with pytest.raises(InvalidConfig, match="tokn"):
        load(file, env={})
