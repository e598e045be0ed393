"""The fuzzers of the C worker, for a moment: that they run, and find nothing in what is known."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.measured import measured
from tests.workers_c.program import BUILD, FOLDER, build

SECONDS = 5


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["fuzz_frames", "fuzz_json"])
def test_a_fuzzer_finds_nothing_in_its_corpus_and_a_moment_beyond(
    name: str, tmp_path: Path
) -> None:
    build("fuzzers")
    corpus = FOLDER / "fuzz" / "corpus" / name
    known = len(list(corpus.iterdir()))
    done = subprocess.run(
        measured(
            [
                BUILD / "fuzz" / name,
                *(f"-max_total_time={SECONDS}", "-rss_limit_mb=1024", "-max_len=20000"),
                *("-print_final_stats=1", tmp_path, corpus),
            ]
        ),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    runs = int(re.search(r"number_of_executed_units: (\d+)", done.stderr)[1])  # type: ignore[index]
    assert runs > known
    assert len(list(corpus.iterdir())) == known, "what is found stays out of the committed corpus"
