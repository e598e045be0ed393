"""Time, chance and ids."""

import re
import threading
import time
import uuid

from stoker.core.clock import SystemClock, uuid7

MANY = 20_000


def test_ids_are_of_version_seven_and_rise() -> None:
    clock = SystemClock()
    ids = [clock.new_id() for _ in range(MANY)]
    assert ids == sorted(set(ids))
    first = uuid.UUID(ids[0])
    assert (first.version, first.variant) == (7, uuid.RFC_4122)
    assert str(first) == ids[0]


def test_ids_of_several_threads_differ() -> None:
    clock = SystemClock()
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.extend([clock.new_id() for _ in range(2_000)]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8_000


def test_an_id_tells_the_moment_it_was_made() -> None:
    before = time.time()  # noqa: TID251 - compared with the clock
    made = int(SystemClock().new_id().replace("-", "")[:12], 16) / 1_000
    assert before - 1 <= made <= before + 60


def test_an_id_is_made_of_its_tick_and_noise() -> None:
    made = uuid7((0x0123_4567_89AB << 12) | 0xCDE, 0x3FFF_FFFF_FFFF_FFFF)
    assert made == "01234567-89ab-7cde-bfff-ffffffffffff"
    assert uuid7(0, 0) == "00000000-0000-7000-8000-000000000000"


def test_nonces_are_128_bits_and_never_repeat() -> None:
    clock = SystemClock()
    nonces = {clock.new_nonce() for _ in range(1_000)}
    assert len(nonces) == 1_000
    assert all(re.fullmatch(r"[0-9a-f]{32}", nonce) for nonce in nonces)


def test_the_clock_tells_the_time_of_the_machine() -> None:
    clock = SystemClock()
    assert abs(clock.now() - time.time()) < 60  # noqa: TID251 - compared with the clock
    assert clock.monotonic() <= clock.monotonic()
    assert 0 <= clock.random() < 1
    assert len({clock.random() for _ in range(100)}) > 90
