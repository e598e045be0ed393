from hypothesis import given
from hypothesis import strategies as st

from stoker.brokers.kafka.window import Window


def test_nothing_is_committed_before_anything_was_heard() -> None:
    assert Window("topic", 0).advance() is None


def test_the_position_is_that_of_the_oldest_ring_that_did_not_end() -> None:
    window = Window("topic", 0)
    for offset in (7, 8, 9):
        window.heard(offset)

    window.ended(9)
    first = window.advance()
    window.ended(7)
    second = window.advance()
    window.ended(8)
    third = window.advance()

    assert (first, second, third) == (7, 8, 10)
    assert window.advance() is None


@given(
    gaps=st.lists(st.integers(1, 5), min_size=1, max_size=30),
    order=st.randoms(use_true_random=False),
)
def test_the_position_never_passes_an_open_ring_and_reaches_the_end(
    gaps: list[int], order: object
) -> None:
    window = Window("topic", 0)
    offsets = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    for offset in offsets:
        window.heard(offset)
    left = set(offsets)
    shuffled = list(offsets)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    last = -1
    for offset in shuffled:
        window.ended(offset)
        left.discard(offset)
        position = window.advance()
        if position is not None:
            assert position > last
            assert all(position <= other for other in left)
            last = position

    assert last == offsets[-1] + 1
