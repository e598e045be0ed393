"""``stoker doctor``: check the machine, the configuration and the store; say how to mend them."""

import click

from stoker.cli.exits import DONE, FAILED
from stoker.cli.shell import Shell, common, json_option


@click.command()
@json_option
@common()
def doctor(shell: Shell) -> int:
    """Check this machine and the configuration.

    Each finding comes with what to do. Ends with 1 when there is a problem; warnings and notes
    do not count.
    """
    from stoker.cli.checkup import check_up

    findings = check_up(shell)
    problems = [finding for finding in findings if finding.verdict == "problem"]
    if shell.out.as_json:
        shell.out.document({"ok": not problems, "findings": findings})
    else:
        rows = ((f.check, f.verdict, f.found, f.fix) for f in findings)
        shell.out.table(("check", "verdict", "found", "fix"), rows)
        shell.out.line(f"{len(problems)} problems" if problems else "no problem found")
    return FAILED if problems else DONE
