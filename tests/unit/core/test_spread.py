"""Classes of durations, and the percentiles that come from them."""

import math
from collections import Counter

import pytest

from stoker.core.spread import BOUNDS, added, class_of, count_classes, percentile


def test_a_bound_belongs_to_the_class_below_it() -> None:
    for number, bound in enumerate(BOUNDS):
        assert class_of(bound) == number
        assert class_of(bound * 1.000001) == number + 1
    assert (class_of(0.0), class_of(-1.0)) == (0, 0)
    assert class_of(1e9) == len(BOUNDS)


def test_durations_are_counted_by_class() -> None:
    durations = [*BOUNDS, 1e9, -1.0, 0.0, 0.0031, 0.0031, 0.004]
    counted = dict(count_classes(reversed(durations)))
    assert counted == Counter(map(class_of, durations))
    assert count_classes([]) == []


def test_percentiles_are_right_within_a_factor_of_two() -> None:
    durations = [-math.log(1 - (place + 0.5) / 5_000) for place in range(5_000)]
    classes: dict[int, int] = {}
    for duration in durations:
        classes[class_of(duration)] = classes.get(class_of(duration), 0) + 1
    for share in (0.1, 0.5, 0.95, 0.99):
        real = durations[int(share * len(durations)) - 1]
        told = percentile(classes, share)
        assert told is not None
        assert real / 1.2 < told < real * 1.2


def test_no_attempts_have_no_percentile() -> None:
    assert percentile({}, 0.5) is None
    assert percentile({3: 0}, 0.5) is None


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_what_is_beyond_the_last_bound_is_told_as_that_bound(share: float) -> None:
    assert percentile({len(BOUNDS): 3}, share) == BOUNDS[-1]


def test_spreads_are_added() -> None:
    assert added([{1: 2, 3: 1}, {}, {3: 4}]) == {1: 2, 3: 5}
