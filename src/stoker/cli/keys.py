"""``stoker keys``: make API keys, look at them, revoke them."""

from typing import TYPE_CHECKING

import click

from stoker.cli.shell import Shell, common, group, json_option
from stoker.cli.text import since
from stoker.core.duration import optional_seconds, when
from stoker.core.keys import Scope

if TYPE_CHECKING:
    from datetime import datetime

    from stoker.app.keys import KeyView

COLUMNS = ("id", "name", "scopes", "queues", "tenant", "state", "used", "made")


@group
def keys() -> None:
    """Make, list and revoke API keys.

    They are kept in the store, so this takes the store itself and no key.
    """


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([str(scope) for scope in Scope]),
    help="What it may do; may be repeated. operate brings read along, admin everything.",
)
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Only this; repeatable.")
@click.option("--tenant", metavar="NAME", help="Only the jobs of this tenant.")
@click.option("--expires", metavar="DURATION", help="Valid for so long, such as 30d.")
@json_option
@common()
def create(
    shell: Shell,
    *,
    name: str,
    scopes: tuple[str, ...],
    queues: tuple[str, ...],
    tenant: str | None,
    expires: str | None,
) -> None:
    """Make a key and print it: the only time that it is shown."""
    from stoker.app.keys import create_key

    lives = optional_seconds(expires, name="--expires")
    made = shell.run(
        lambda app, store: create_key(
            store,
            app.clock,
            actor=app.actor,
            name=name,
            scopes=scopes,
            queues=queues,
            tenant=tenant,
            expires_in=lives,
        )
    )
    if shell.out.as_json:
        shell.out.document(made)
        return
    shell.out.line(made.key)
    shell.out.note("keep it now: it is not shown again")


@keys.command("ls")
@json_option
@common()
def ls(shell: Shell) -> None:
    """List keys, oldest first, with the revoked ones."""
    from stoker.app.keys import show_key

    found = [show_key(info) for info in shell.run(lambda _, store: store.keys())]
    if shell.out.as_json:
        shell.out.document({"keys": found})
        return
    now = when(shell.app.clock.now())
    shell.out.table(
        COLUMNS,
        (_row(key, now) for key in found),
        empty="no keys yet; make one: stoker keys create NAME --scope admin",
        spare=("tenant", "queues", "made"),
    )


@keys.command()
@click.argument("key", metavar="ID|NAME")
@json_option
@common()
def revoke(shell: Shell, *, key: str) -> None:
    """Revoke a key for good, and end the log-ins made with it."""
    from stoker.app.keys import revoke_key, show_key

    info = shell.run(lambda app, store: revoke_key(store, key, actor=app.actor))
    if shell.out.as_json:
        shell.out.document(show_key(info))
    else:
        shell.out.line(f"revoked {info.spec.name} ({info.spec.id})")


def _row(key: "KeyView", now: "datetime") -> tuple[object, ...]:
    state = "valid"
    if key.revoked_at is not None:
        state = "revoked"
    elif key.expires_at is not None and key.expires_at <= now:
        state = "expired"
    return (
        key.id,
        key.name,
        ",".join(key.scopes),
        ",".join(key.queues),
        key.tenant,
        state,
        since(key.last_used_at, now),
        since(key.created_at, now),
    )
