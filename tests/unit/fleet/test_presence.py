"""How a fleet is seen in the store, and what it does when it is asked. Real processes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import pytest

from stoker.connect import open_store
from stoker.core.clock import SystemClock
from stoker.core.errors import InvalidConfig
from stoker.core.events import EventRecord, Kind
from stoker.core.fleets import FleetCommand, FleetInfo, fleets_among, workers_among
from stoker.core.job import Command, SessionSpec, SessionState
from stoker.core.records import EventQuery
from stoker.fleet import presence
from stoker.fleet.fleet import Fleet
from stoker.fleet.kinds import Kind as FleetKind
from stoker.fleet.kinds import plain
from stoker.fleet.presence import Presence
from stoker.fleet.reporter import HOST
from stoker.fleet.running import run_fleet
from stoker.settings import FleetSettings, Seconds
from stoker.testing import Before, FaultyStore, wait_until
from tests.unit.fleet.children import DIES, DRAINS, command


def kind(name: str, program: str = DRAINS, *, least: int = 1, most: int = 2) -> FleetKind:
    settings = FleetSettings(
        name="w", min=least, max=most, backoff=Seconds(0.01), backoff_cap=Seconds(0.1)
    )
    whole = plain(settings, command=command(program, "{name}"), slots=2, queues=[name])
    return msgspec.structs.replace(whole, name=name, prefix=f"w-{name}")


class Scene:
    def __init__(self, store: FaultyStore, kinds: Sequence[FleetKind]) -> None:
        self.store = store
        self.clock = SystemClock()
        self.fleet = Fleet(store, kinds, clock=self.clock, drain=1.0)

    async def run(self) -> None:
        await run_fleet(self.store, self.fleet, clock=self.clock, ttl=30.0)

    async def seen(self) -> FleetInfo | None:
        found = fleets_among(await self.store.inner.sessions())
        return found[0] if found else None

    async def shows(self, text: str, what: str = "") -> FleetInfo:
        """Wait until the fleet, as the store sees it, has a text in what it tells."""

        async def look() -> list[FleetInfo]:
            fleet = await self.seen()
            told = "" if fleet is None else msgspec.json.encode(fleet).decode()
            return [fleet] if fleet is not None and text in told else []

        [found] = await wait_until(look, what or f"the fleet shows {text}")
        return found

    async def ask(self, action: str, **words: object) -> None:
        fleet = await self.shows('"kinds"')
        command = msgspec.convert({"session": fleet.id, "action": action, **words}, FleetCommand)
        await self.store.record([command.as_event("w", actor="cli:me")])

    async def beat(self, name: str) -> None:
        [worker] = [w for w in self.fleet.workers if w.name == name]
        spec = SessionSpec(id=self.clock.new_id(), name=name, host=HOST, pid=worker.pid or 0)
        await self.store.beat(spec, [], ttl=30)

    async def events(self, kind: Kind) -> list[EventRecord]:
        return await self.store.inner.events(EventQuery(after=0, kinds=(kind,)))


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LISTEN", 0.01)
    monkeypatch.setattr("stoker.fleet.running.LOOK", 0.01)


@pytest.fixture
async def store() -> AsyncIterator[FaultyStore]:
    async with FaultyStore(open_store("memory://")) as opened:
        yield opened


@asynccontextmanager
async def at_work(store: FaultyStore, *kinds: FleetKind) -> AsyncIterator[Scene]:
    scene = Scene(store, kinds)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(scene.run())
        try:
            yield scene
        finally:
            scene.fleet.stop()
            if not running.done():
                scene.fleet.stop()


async def test_a_fleet_is_seen_with_its_kinds_and_workers_and_is_no_worker(
    store: FaultyStore,
) -> None:
    async with at_work(store, kind("mail"), kind("image", least=2)) as scene:
        fleet = await scene.shows('"w-image-2"')
        assert (fleet.name, fleet.host, fleet.state) == ("w", HOST, SessionState.ALIVE)
        assert [(k.name, k.queues, k.min, k.max, k.wanted) for k in fleet.kinds] == [
            ("mail", ("mail",), 1, 2, 1),
            ("image", ("image",), 2, 2, 2),
        ]
        assert workers_among(await store.sessions()) == []
        assert {worker.state for worker in fleet.workers} == {"starting"}
        await scene.beat("w-mail-1")
        fleet = await scene.shows('"state":"ready"')
        assert [(k.name, k.ready) for k in fleet.kinds] == [("mail", 1), ("image", 0)]
    assert await scene.seen() is None
    [gone] = fleets_among(await store.sessions(ended=True))
    assert gone.state is SessionState.LEFT


async def test_a_kind_that_cannot_run_shows_and_leaves_the_other_alone(store: FaultyStore) -> None:
    async with at_work(store, kind("bad", DIES), kind("good")) as scene:
        fleet = await scene.shows('"is_failing":true')
        bad, good = fleet.kinds
        assert (bad.is_failing, good.is_failing) == (True, False)
        states = {worker.name: worker for worker in fleet.workers}
        assert states["w-bad-1"].last_exit == "ended with exit code 3"
        assert states["w-bad-1"].quick_deaths >= 3
        assert states["w-good-1"].restarts == 0


async def test_bounds_are_changed_by_a_command_and_come_back_with_a_reload(
    store: FaultyStore,
) -> None:
    async with at_work(store, kind("mail"), kind("image")) as scene:
        await scene.ask("scale", kind="mail", min=3, max=5, reason="a sale")
        fleet = await scene.shows('"is_changed":true')
        mail, image = fleet.kinds
        assert (mail.min, mail.max, mail.wanted) == (3, 5, 3)
        assert (image.min, image.max, image.is_changed) == (1, 2, False)
        [bounded] = await wait_until(partial(scene.events, Kind.FLEET_BOUNDED), "it is written")
        assert bounded.actor == "fleet:w"
        assert bounded.details == {
            "fleet": "w",
            "kind": "mail",
            "min": 3,
            "max": 5,
            "before": [1, 2],
            "reason": "a sale",
            "by": "cli:me",
        }
        await scene.ask("scale", kind="mail", min=0, max=1)
        await wait_until(lambda: len(scene.fleet.units["mail"].supervisor.workers) <= 1, "fewer")
        await scene.ask("reload")
        back = '"name":"mail","program":"python","queues":["mail"],"concurrency":2,"min":1,"max":2'
        fleet = await scene.shows(back)
        assert [kind.is_changed for kind in fleet.kinds] == [False, False]


@pytest.mark.parametrize("action", ["drain", "stop"])
async def test_a_command_ends_the_fleet(store: FaultyStore, action: str) -> None:
    scene = Scene(store, [kind("mail")])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(scene.run())
        await scene.ask(action, reason="the rack moves")
    assert scene.fleet.workers == []
    assert len(await scene.events(Kind.FLEET_STOPPED)) == 1


@pytest.mark.parametrize("command", list(Command))
async def test_a_fleet_obeys_what_any_session_obeys(store: FaultyStore, command: Command) -> None:
    scene = Scene(store, [kind("mail")])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(scene.run())
        fleet = await scene.shows('"kinds"')
        await store.set_session([fleet.id], command)
    assert scene.fleet.workers == []


async def test_commands_without_sense_and_for_others_change_nothing(store: FaultyStore) -> None:
    async with at_work(store, kind("mail")) as scene:
        await scene.ask("scale", kind="nobody", max=9)
        await scene.ask("scale", kind="mail", min=9)
        await scene.ask("scale", kind="mail", min=5_000, max=5_000)
        other = FleetCommand(session="another", action="stop")
        await store.record([other.as_event("w", actor="cli:me")])
        await scene.ask("scale", kind="mail", max=4)
        fleet = await scene.shows('"max":4')
        assert (fleet.kinds[0].min, fleet.state) == (1, SessionState.ALIVE)


async def test_a_fleet_that_was_declared_dead_comes_back_and_still_hears(
    store: FaultyStore,
) -> None:
    async with at_work(store, kind("mail")) as scene:
        first = await scene.shows('"kinds"')
        await store.reap(sessions=[first.id])
        await scene.ask("scale", kind="mail", max=7)
        again = await scene.shows('"max":7')
        assert again.id != first.id
        assert [worker.restarts for worker in again.workers] == [0]


async def test_a_store_that_is_away_ends_no_fleet(store: FaultyStore) -> None:
    async with at_work(store, kind("mail")) as scene:
        await scene.shows('"w-mail-1"')
        store.rule = lambda verb: Before() if verb in {"beat", "events", "sessions"} else None
        scene.fleet.units["mail"].supervisor.scale(2)
        await wait_until(lambda: len(scene.fleet.workers) == 2, "it goes on")
        store.rule = lambda _: None
        await scene.shows('"w-mail-2"')


async def test_the_place_in_the_trail_moves_up_and_misses_nothing(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "SKIM", 1)
    async with at_work(store, kind("mail", most=9)) as scene:
        for most in (3, 4, 5, 6):
            await scene.ask("scale", kind="mail", max=most)
            await scene.shows(f'"max":{most}')


def test_a_fleet_without_kinds_is_refused(store: FaultyStore) -> None:
    with pytest.raises(InvalidConfig, match="no kinds"):
        Fleet(store, [], clock=SystemClock())


def test_a_fleet_that_serves_everything_says_so(store: FaultyStore) -> None:
    clock = SystemClock()
    every = msgspec.structs.replace(kind("rest"), queues=())
    fleet = Fleet(store, [kind("mail"), every], clock=clock)
    assert Presence(store, fleet, clock=clock, ttl=30)._queues == ()
