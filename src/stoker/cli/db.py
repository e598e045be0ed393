"""``stoker db``: the layout of the store."""

from typing import TYPE_CHECKING

import click

from stoker.cli.exits import DONE, FAILED
from stoker.cli.shell import Shell, common, json_option
from stoker.core.records import SchemaStatus

if TYPE_CHECKING:
    from stoker.app.stoker import Stoker
    from stoker.core.store import Store


@click.group()
def db() -> None:
    """Migrate the store's layout."""


@db.command()
@click.option("--to", type=int, metavar="VERSION", help="Another version than the newest.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@json_option
@common()
def migrate(shell: Shell, *, to: int | None, dry_run: bool) -> None:
    """Bring the layout to the newest version, each step in its own transaction."""

    async def work(_: "Stoker", store: "Store") -> tuple[SchemaStatus, SchemaStatus]:
        before = await store.migrate(to=to, dry_run=True)
        after = before if dry_run else await store.migrate(to=to)
        return before, after

    before, after = shell.run(work)
    if shell.out.as_json:
        shell.out.document(after)
        return
    for step in before.pending:
        word = "would apply" if dry_run else "applied"
        shell.out.line(f"{word} {step.number} {step.name}")
    shell.out.line(f"the layout is version {after.current} of {after.latest}")


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

    async def work(_: "Stoker", store: "Store") -> SchemaStatus:
        return await store.migrate(dry_run=True)

    found = shell.run(work)
    steps = [*(found.applied if everything else ()), *found.pending]
    for step in reversed(steps) if down else steps:
        shell.out.line(f"-- {step.number} {step.name}")
        shell.out.text((step.down if down else step.up).strip())
    if not steps:
        shell.out.note("no migration is pending; --all prints those that are applied")
