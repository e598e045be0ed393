"""``stoker db``: the layout of the store."""

import asyncio

import click

from stoker.cli.exits import DONE, FAILED
from stoker.cli.filters import confirm
from stoker.cli.shell import Shell, common, group, json_option
from stoker.core.records import Migration, SchemaStatus
from stoker.settings import masked


@group
def db() -> None:
    """Migrate the store's layout."""


@db.command()
@click.option("--to", type=int, metavar="VERSION", help="Another version than the newest.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before going back.")
@json_option
@common()
def migrate(shell: Shell, *, to: int | None, dry_run: bool, yes: bool) -> int:
    """Bring the layout to a version.

    Each step has a transaction of its own. Going back deletes what the older layout has no place
    for: with --to 0 everything.
    """
    before = _migrate(shell, dry_run=True)
    target = before.latest if to is None else to
    goes_back = target < before.current
    if goes_back and not dry_run:
        question = f"Take the layout back from {before.current} to {target}, and lose data?"
        if not confirm(shell.out, question, yes=yes):
            return FAILED
    after = before if dry_run else _migrate(shell, to=to)
    if shell.out.as_json:
        shell.out.document(after)
        return DONE
    word = ("would take back" if goes_back else "would apply") if dry_run else ""
    for step in _steps(before, target):
        done = "took back" if goes_back else "applied"
        shell.out.line(f"{word or done} {step.number} {step.name}")
    shell.out.line(f"the layout is version {after.current} of {after.latest}")
    return DONE


@db.command()
@json_option
@common()
def status(shell: Shell) -> int:
    """Show the layout's version; ends with 1 when a migration is pending."""
    found = _migrate(shell, dry_run=True)
    if shell.out.as_json:
        shell.out.document(found)
    else:
        shell.out.line(f"{masked(shell.settings.store)}: version {found.current} of {found.latest}")
        rows = [(m.number, m.name, "applied") for m in found.applied]
        rows += [(m.number, m.name, "pending") for m in found.pending]
        shell.out.table(("number", "name", "state"), rows, empty="no migrations")
    return FAILED if found.pending else DONE


@db.command()
@click.option("--all", "everything", is_flag=True, help="Also what is applied already.")
@click.option("--down", is_flag=True, help="The statements that take the changes back.")
@common()
def sql(shell: Shell, *, everything: bool, down: bool) -> None:
    """Print the statements of the pending migrations."""
    found = _migrate(shell, dry_run=True)
    steps = [*(found.applied if everything else ()), *found.pending]
    for step in reversed(steps) if down else steps:
        shell.out.line(f"-- {step.number} {step.name}")
        shell.out.text((step.down if down else step.up).strip())
    if not steps:
        shell.out.note("no migration is pending; --all prints those that are applied")


def _migrate(shell: Shell, *, to: int | None = None, dry_run: bool = False) -> SchemaStatus:
    # Not through an open store: an older layout does not let itself be opened.
    from stoker.connect import migrate_store

    settings = shell.settings
    return asyncio.run(
        migrate_store(
            settings.store, clock=shell.app.clock, token=settings.token, to=to, dry_run=dry_run
        )
    )


def _steps(before: SchemaStatus, target: int) -> list[Migration]:
    """Return the steps from the present version to another one, in their order."""
    if target >= before.current:
        return [m for m in before.pending if m.number <= target]
    return [m for m in reversed(before.applied) if m.number > target]
