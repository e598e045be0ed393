"""Files that a person reads in one sitting."""

from tests.repo.tree import python_files, text, where

SOURCE_LIMIT = 600
TEST_LIMIT = 800


def test_no_source_file_is_longer_than_its_budget() -> None:
    assert _over(SOURCE_LIMIT, "src", "scripts", "benchmarks") == []


def test_no_test_file_is_longer_than_its_budget() -> None:
    assert _over(TEST_LIMIT, "tests") == []


def _over(limit: int, *folders: str) -> list[str]:
    sizes = ((file, len(text(file).splitlines())) for file in python_files(*folders))
    return [f"{where(file)} has {size} lines, over {limit}" for file, size in sizes if size > limit]
