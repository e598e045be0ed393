import gc
import sys

from stoker.cli import interpreter


def test_a_server_sets_python_for_serving_and_puts_it_back() -> None:
    before, frozen, turn = gc.get_threshold(), gc.get_freeze_count(), sys.getswitchinterval()
    with interpreter.serving():
        assert sys.getswitchinterval() < turn / 10
        assert gc.get_threshold()[0] > 10 * before[0]
        assert gc.get_threshold()[1:] == before[1:]
        interpreter.spare()
        assert gc.get_freeze_count() > frozen + 10_000
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
    assert sys.getswitchinterval() == turn
