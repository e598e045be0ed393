"""What `stoker doctor` says about a store in memory."""

from stoker.core.finding import Finding, warning


def examine() -> list[Finding]:
    """Return the one thing worth knowing."""
    return [
        warning(
            "durability",
            found="none; can be lost: everything, when the process ends",
            risk="every job; and no other process sees any",
            fix="use sqlite:///stoker.db outside of tests and trials",
        )
    ]
