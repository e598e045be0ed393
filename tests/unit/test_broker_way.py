"""What protects the way to a broker."""

import pytest

from stoker.connect import judge_broker_way


@pytest.mark.parametrize(
    ("url", "verdict"),
    [
        ("amqp://eve:s3cret@127.0.0.1:5672/stoker", "ok"),
        ("amqp://eve:s3cret@mq.example.com/stoker", "warning"),
        ("amqps://eve:s3cret@mq.example.com/stoker", "ok"),
        ("kafka://localhost:9092,k2.example.com:9092", "warning"),
        ("kafkas://k1.example.com:9093,k2.example.com:9093", "ok"),
    ],
)
def test_rings_that_leave_the_machine_want_tls(url: str, verdict: str) -> None:
    found = judge_broker_way(url)
    assert found.verdict == verdict
    assert "s3cret" not in repr(found)
