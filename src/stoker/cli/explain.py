"""``stoker explain``: why a job is not running."""

import click

from stoker.cli.shell import Shell, common, json_option


@click.command()
@click.argument("job_id", metavar="JOB")
@json_option
@common()
def explain(shell: Shell, *, job_id: str) -> None:
    """Say why a job is not running.

    The nearest cause comes first.
    """
    from stoker.app.explain import aexplain

    found = shell.run(lambda _, store: aexplain(store, job_id))
    if shell.out.as_json:
        shell.out.document(found)
        return
    shell.out.line(f"{found.task} {found.id} is {found.state}: {found.summary}")
    for number, blocker in enumerate(found.blockers, start=1):
        shell.out.line(f"  {number}. {blocker.message} [{blocker.code}]")
