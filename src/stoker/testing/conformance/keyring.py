"""API keys: kept without their secret, revoked with their log-ins, and written down."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from stoker.core.events import Kind
from stoker.core.keys import KeyInfo, KeySpec, Scope, digest_of
from stoker.testing.conformance.hand import Hand
from stoker.testing.conformance.suite import StoreSuite


def key(key_id: str = "k1", **changes: Any) -> KeySpec:
    """Return a key that reads."""
    given: dict[str, Any] = {"name": "reader", "digest": digest_of(key_id), "scopes": (Scope.READ,)}
    return KeySpec(id=key_id, **(given | changes))


def login(key_id: str, of: str = "k1", **changes: Any) -> KeySpec:
    """Return a log-in for an hour."""
    return key(key_id, **({"login_of": of, "expires_in": 3600.0} | changes))


def ids(found: Sequence[KeyInfo]) -> list[str]:
    """Return the ids of keys."""
    return [info.spec.id for info in found]


class Keys(StoreSuite):
    """Making, showing, using and revoking keys."""

    async def test_a_key_comes_back_as_it_was_put(self, hand: Hand) -> None:
        spec = key(
            scopes=(Scope.SUBMIT, Scope.READ), queues=("a", "b"), tenant="Ä & Co", expires_in=60.0
        )
        assert await hand.store.put_keys([spec], actor="cli:eve") == ["k1"]
        [info] = await hand.store.keys(["k1"])
        assert info.spec == spec
        assert info.created_at.timestamp() == pytest.approx(hand.clock.now(), abs=0.001)
        assert info.expires_at is not None
        lives = info.expires_at - info.created_at
        assert lives.total_seconds() == pytest.approx(60.0, abs=0.001)
        assert (info.last_used_at, info.revoked_at) == (None, None)
        [event] = await hand.events(Kind.KEY_CREATED)
        assert (event.actor, event.details) == ("cli:eve", {"key": "k1", "name": "reader"})

    async def test_the_same_key_again_changes_nothing(self, hand: Hand) -> None:
        await hand.store.put_keys([key()])
        [made] = await hand.store.keys(["k1"])
        hand.clock.advance(10)
        assert await hand.store.put_keys([key(scopes=(Scope.ADMIN,)), key("k2")]) == ["k2"]
        assert await hand.store.keys(["k1"]) == [made]
        assert len(await hand.events(Kind.KEY_CREATED)) == 2

    async def test_a_key_is_made_once_by_many(self, hand: Hand, other: Hand) -> None:
        answers = await asyncio.gather(
            *(one.store.put_keys([key()]) for one in (hand, other, hand, other))
        )
        assert sorted(answers) == [[], [], [], ["k1"]]

    async def test_keys_are_listed_oldest_first_and_without_the_log_ins(self, hand: Hand) -> None:
        for name in ("k3", "k1", "k2"):
            await hand.store.put_keys([key(name)])
            hand.clock.advance(1)
        await hand.store.put_keys([login("l1")])
        assert ids(await hand.store.keys()) == ["k3", "k1", "k2"]
        assert ids(await hand.store.keys(["l1", "k2", "nobody", "k3"])) == ["k3", "k2", "l1"]

    async def test_use_is_noted_and_not_written_into_the_trail(self, hand: Hand) -> None:
        await hand.store.put_keys([key(), key("k2")])
        hand.clock.advance(5)
        assert await hand.store.put_keys(used=["k1", "nobody"]) == []
        first, second = await hand.store.keys()
        assert first.last_used_at is not None
        assert first.last_used_at.timestamp() == pytest.approx(hand.clock.now(), abs=0.001)
        assert second.last_used_at is None
        assert [event.kind for event in await hand.events()] == [Kind.KEY_CREATED] * 2

    async def test_a_key_is_revoked_once_and_kept(self, hand: Hand, other: Hand) -> None:
        await hand.store.put_keys([key(), key("k2")])
        assert await hand.store.put_keys(revoke=["k1", "nobody"], actor="cli:eve") == ["k1"]
        [info] = await other.store.keys(["k1"])
        assert info.revoked_at is not None
        assert not info.is_valid(hand.clock.now())
        hand.clock.advance(10)
        assert await other.store.put_keys(revoke=["k1"]) == []
        assert await hand.store.keys(["k1"]) == [info]
        [event] = await hand.events(Kind.KEY_REVOKED)
        assert (event.actor, event.details) == ("cli:eve", {"key": "k1", "name": "reader"})

    async def test_a_revoked_key_is_not_made_again(self, hand: Hand) -> None:
        await hand.store.put_keys([key()])
        await hand.store.put_keys(revoke=["k1"])
        assert await hand.store.put_keys([key()]) == []
        [info] = await hand.store.keys()
        assert info.revoked_at is not None

    async def test_a_key_that_ran_out_is_kept_and_no_longer_valid(self, hand: Hand) -> None:
        await hand.store.put_keys([key(expires_in=60.0)])
        [info] = await hand.store.keys()
        assert info.is_valid(hand.clock.now() + 59)
        hand.clock.advance(61)
        await hand.store.put_keys([key("k2")])
        [info, _] = await hand.store.keys()
        assert not info.is_valid(hand.clock.now())


class LogIns(StoreSuite):
    """Log-ins: nothing of them outlives their time or their key (I10)."""

    async def test_a_log_in_goes_when_it_is_revoked(self, hand: Hand) -> None:
        await hand.store.put_keys([key()])
        await hand.store.put_keys([login("l1"), login("l2")], actor="key:reader")
        assert await hand.store.put_keys(revoke=["l1", "l1"], actor="key:reader") == ["l1"]
        assert ids(await hand.store.keys(["k1", "l1", "l2"])) == ["k1", "l2"]
        told = await hand.events(Kind.LOGGED_IN, Kind.LOGGED_OUT)
        assert [event.kind for event in told] == [Kind.LOGGED_IN] * 2 + [Kind.LOGGED_OUT]
        assert all(event.details == {"key": "k1", "name": "reader"} for event in told)

    async def test_all_log_ins_of_a_key_go_with_it_and_no_others(self, hand: Hand) -> None:
        await hand.store.put_keys([key(), key("k2")])
        await hand.store.put_keys([login("l1"), login("l2"), login("l3", of="k2")])
        assert await hand.store.put_keys(revoke=["k1"]) == ["k1"]
        assert ids(await hand.store.keys(["l1", "l2", "l3"])) == ["l3"]

    async def test_log_ins_that_ran_out_are_deleted(self, hand: Hand) -> None:
        await hand.store.put_keys([key(), login("l1", expires_in=60.0), login("l2")])
        hand.clock.advance(61)
        await hand.store.put_keys(used=["k1"])
        assert ids(await hand.store.keys(["l1", "l2"])) == ["l2"]
