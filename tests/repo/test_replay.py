"""The table of fleet replays in the guide is what the replay prints."""

from benchmarks.fleets import compare, table
from tests.repo.tree import ROOT

GUIDE = ROOT / "docs" / "guides" / "fleets.md"


def test_the_table_of_the_guide_is_what_the_replay_prints() -> None:
    text = GUIDE.read_text()
    shown = text.partition("<!-- replay -->\n")[2].partition("<!-- /replay -->")[0]
    assert shown.strip() == table(compare(), 5.0).strip(), "run: python -m benchmarks.fleets"
