import gc

from stoker.cli import collector


def test_the_collector_looks_seldom_and_only_at_what_is_new() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with collector.seldom():
        assert gc.get_threshold()[0] > 10 * before[0]
        assert gc.get_threshold()[1:] == before[1:]
        collector.spare()
        assert gc.get_freeze_count() > frozen + 10_000
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
