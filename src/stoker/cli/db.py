"""``stoker db``: the layout of the store."""

from typing import TYPE_CHECKING

import click

from stoker.cli.exits import DONE, FAILED
from stoker.cli.filters import confirm
from stoker.cli.shell import Shell, common, json_option
from stoker.core.records import Migration, SchemaStatus

if TYPE_CHECKING:
    from stoker.app.stoker import Stoker
    from stoker.core.store import Store


@click.group()
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
    before = shell.run(_layout)
    target = before.latest if to is None else to
    goes_back = target < before.current
    if goes_back and not dry_run:
        question = f"Take the layout back from {before.current} to {target}, and lose data?"
        if not confirm(shell.out, question, yes=yes):
            return FAILED
    after = before if dry_run else shell.run(lambda _, store: store.migrate(to=to))
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

    async def work(_: "Stoker", store: "Store") -> tuple[SchemaStatus, str]:
        return await store.migrate(dry_run=True), store.info.url

    found, url = shell.run(work)
    if shell.out.as_json:
        shell.out.document(found)
    else:
        shell.out.line(f"{url}: version {found.current} of {found.latest}")
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
    found = shell.run(_layout)
    steps = [*(found.applied if everything else ()), *found.pending]
    for step in reversed(steps) if down else steps:
        shell.out.line(f"-- {step.number} {step.name}")
        shell.out.text((step.down if down else step.up).strip())
    if not steps:
        shell.out.note("no migration is pending; --all prints those that are applied")


async def _layout(_: "Stoker", store: "Store") -> SchemaStatus:
    return await store.migrate(dry_run=True)


def _steps(before: SchemaStatus, target: int) -> list[Migration]:
    """Return the steps from the present version to another one, in their order."""
    if target >= before.current:
        return [m for m in before.pending if m.number <= target]
    return [m for m in reversed(before.applied) if m.number > target]
