"""What `stoker.connect` says of texts that are no URLs."""

import pytest

from stoker.connect import open_broker, open_store
from stoker.core.errors import InvalidConfig

SCHEMES = ("sqlite", "postgresql", "redis", "tcp", "https")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_store_whose_url_has_half_a_bracket_is_refused(scheme: str) -> None:
    with pytest.raises(InvalidConfig, match="the store is no URL: Invalid IPv6") as caught:
        open_store(f"{scheme}://me:hush@[a/")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["amqp", "kafka"])
def test_a_broker_whose_url_has_half_a_bracket_is_refused(scheme: str) -> None:
    with pytest.raises(InvalidConfig, match="the broker is no URL: Invalid IPv6") as caught:
        open_broker(f"{scheme}://me:hush@[a/")
    assert "hush" not in str(caught.value)
