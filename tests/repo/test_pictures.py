"""The pictures of the dashboard: each that is shown is there, and they stay small."""

import re

from tests.repo.tree import ROOT

IMAGES = ROOT / "docs" / "images" / "dashboard"
MOST = 2 * 1024 * 1024


def test_every_picture_of_the_guide_is_there_in_light_and_dark() -> None:
    guide = (ROOT / "docs" / "guides" / "dashboard.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"images/dashboard/([\w-]+)-(light|dark)\.webp", guide))
    names = {name for name, _ in shown}
    assert len(names) > 8
    assert shown == {(name, scheme) for name in names for scheme in ("light", "dark")}
    there = {file.name for file in IMAGES.iterdir()}
    assert {f"{name}-{scheme}.webp" for name, scheme in shown} <= there


def test_all_pictures_together_are_small() -> None:
    assert sum(file.stat().st_size for file in IMAGES.iterdir()) <= MOST
