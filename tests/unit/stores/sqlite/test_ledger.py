"""What the books know of changes before anybody asks."""

from collections.abc import Iterable

from stoker.stores.sqlite.ledger import Ledger, spread


def test_changes_are_read_only_when_somebody_asks() -> None:
    asked: list[str] = []

    def read() -> Iterable[str]:
        asked.append("read")
        return ["b", "c"]

    command, commit = Ledger(), Ledger()
    assert not command.changed
    command.changed.append("a")
    command.changed.extend_by(read)
    commit.add(command)
    assert commit.changed
    assert not asked
    assert (list(commit.changed), len(commit.changed)) == (["a", "b", "c"], 3)
    assert "c" in commit.changed
    assert asked == ["read"]


def test_changes_that_are_not_read_yet_are_changes() -> None:
    ledger = Ledger()
    ledger.changed.extend_by(lambda: ["a"])
    assert ledger.changed


def test_a_spread_counts_classes_and_sums_microseconds() -> None:
    found = spread([0.0005, 0.0005, 3.0], [])
    assert found.marks == [("waited_0", 2), ("waited_12", 1)]
    assert found.sums == [("waited_us", 3_001_000)]
    assert spread([], []).sums == []
    assert spread([], [1.0]).sums == [("ran_us", 1_000_000)]
