import logging

import pytest

from stoker.brokers.kafka.voice import MOST, Voice, concealing
from stoker.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def voice(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> Voice:
    caplog.set_level(logging.DEBUG, "stoker.brokers.kafka")
    return Voice(clock, concealing(["hunter2", ""]))


def test_a_secret_that_librdkafka_says_is_not_written(
    voice: Voice, caplog: pytest.LogCaptureFixture
) -> None:
    voice.log(logging.ERROR, "%s [%s] %s", "FAIL", "stoker", "refused hunter2 here")

    assert caplog.messages == ["FAIL [stoker] refused *** here"]


def test_the_lines_of_a_minute_are_few_and_the_rest_is_counted(
    voice: Voice, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(MOST + 7):
        voice.log(logging.ERROR, "%s", number)
    before = len(caplog.messages)
    clock.advance(61)
    voice.log(logging.ERROR, "%s", "later")

    assert before == MOST
    assert caplog.messages[MOST:] == ["7 more lines of librdkafka were left out", "later"]
