"""Which queues are asked, in which order, for how much."""

from stoker.worker.queues import Queues


def test_each_queue_is_first_in_its_turn() -> None:
    queues = Queues({"a": 0, "b": 0, "c": 0}, (), 10)
    firsts = []
    for _ in range(6):
        firsts.append(next(iter(queues.share(5, {}))))
        queues.turn()
    assert firsts == ["a", "b", "c", "a", "b", "c"]


def test_a_limited_queue_gives_no_more_than_its_room() -> None:
    queues = Queues({"a": 3, "b": 0}, (), 10)
    assert queues.share(8, {"a": 1}) == {"a": 2, "b": 8}
    assert queues.share(8, {"a": 3}) == {"b": 8}
    assert queues.share(1, {"a": 0}) == {"a": 1, "b": 1}


def test_a_limit_of_the_whole_concurrency_is_none() -> None:
    assert not Queues({"a": 10}, (), 10).is_limited
    assert Queues({"a": 9}, (), 10).is_limited


def test_without_configured_queues_the_tasks_own_are_served_and_new_ones_learned() -> None:
    queues = Queues({}, ["mail", "video"], 10)
    assert queues.learns
    assert set(queues.names) == {"default", "mail", "video"}
    assert queues.learn(["mail", "late"])
    assert not queues.learn(["late"])
    assert queues.names[-1] == "late"


def test_configured_queues_are_all_there_is() -> None:
    queues = Queues({"mail": 0}, ["video"], 10)
    assert not queues.learns
    assert queues.names == ("mail",)
