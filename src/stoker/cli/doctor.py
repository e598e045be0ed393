"""``stoker doctor``: check the machine, the configuration and the store; say how to mend them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from stoker.cli.exits import DONE, FAILED, UNREACHABLE
from stoker.cli.shell import Shell, common, json_option
from stoker.cli.text import plural
from stoker.core.errors import Unavailable

if TYPE_CHECKING:
    from stoker.core.finding import Finding


@click.command()
@json_option
@common()
def doctor(shell: Shell) -> int:
    """Check this machine, the configuration and the store.

    Each finding says what can be lost and what to do about it. Ends with 1 when there is a
    problem, and with 3 when the store cannot be reached; warnings and notes do not count.
    """
    from stoker.cli.checkup import check_up

    findings = check_up(shell)
    problems = [finding for finding in findings if finding.verdict == "problem"]
    if shell.out.as_json:
        shell.out.document({"ok": not problems, "findings": findings})
    else:
        rows = ((f.check, f.verdict, _words(f)) for f in findings)
        shell.out.table(("check", "verdict", "found"), rows)
        shell.out.line(_sum(findings))
    if any(finding.code == Unavailable.code for finding in problems):
        return UNREACHABLE
    return FAILED if problems else DONE


def _words(finding: "Finding") -> str:
    parts = [finding.found]
    if finding.risk:
        parts.append(f"At risk: {finding.risk}")
    if finding.fix:
        parts.append(f"Do: {finding.fix}")
    return ". ".join(parts)


def _sum(findings: "Sequence[Finding]") -> str:
    verdicts = [finding.verdict for finding in findings]
    warnings = plural(verdicts.count("warning"), "warning")
    problems = verdicts.count("problem")
    return f"{plural(problems, 'problem') if problems else 'no problem found'}, {warnings}"
