"""The command ``stoker``: its commands, and the border where errors become exit codes."""

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from stoker.cli.lazy import LazyGroup
from stoker.cli.shell import root_options

_SECTIONS = {
    "Run": {
        "up": ("stoker.cli.up:up", "Start server, workers and keeper in one terminal."),
        "server": ("stoker.cli.server:server", "Serve the HTTP API."),
        "worker": ("stoker.cli.worker:worker", "Run one worker process."),
        "fleet": ("stoker.cli.fleet:fleet", "Keep a number of worker processes alive."),
        "keeper": ("stoker.cli.keeper:keeper", "Run a housekeeper without a worker."),
    },
    "Submit": {
        "send": ("stoker.cli.send:send", "Submit a job."),
        "send-test": ("stoker.cli.send_test:send_test", "Submit quick jobs to try the system."),
        "generate": ("stoker.cli.generate:generate", "Submit a mix of test jobs at a rate."),
        "tasks": ("stoker.cli.tasks:tasks", "List the tasks and their arguments."),
    },
    "Look": {
        "status": ("stoker.cli.status:status", "Show the state at a glance."),
        "top": ("stoker.cli.top:top", "Watch the system live."),
        "jobs": ("stoker.cli.jobs:jobs", "List, show, cancel, retry and remove jobs."),
        "explain": ("stoker.cli.explain:explain", "Say why a job is not running."),
        "events": ("stoker.cli.events:events", "Read the audit trail."),
        "workers": ("stoker.cli.workers:workers", "List and stop workers."),
    },
    "Operate": {
        "dlq": ("stoker.cli.dlq:dlq", "Look at dead letters and replay them."),
        "queues": ("stoker.cli.queues:queues", "List, pause, limit and purge queues."),
        "schedules": ("stoker.cli.schedules:schedules", "List and change schedules."),
        "workflows": ("stoker.cli.workflows:workflows", "Submit, look at and retry workflows."),
    },
    "Set up": {
        "doctor": (
            "stoker.cli.doctor:doctor",
            "Check this machine, the configuration and the store.",
        ),
        "config": ("stoker.cli.config:config", "Show the configuration in force."),
        "keys": ("stoker.cli.keys:keys", "Make, list and revoke API keys."),
        "db": ("stoker.cli.db:db", "Migrate the store's layout."),
        "bench": ("stoker.cli.bench:bench", "Measure rates and latency."),
    },
}


class Root(LazyGroup):
    """The root command: a lazy group behind the border of `guard`."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - click's signature
        **extra: Any,
    ) -> Any:
        """Run a command line; ends the process unless ``standalone_mode`` is off."""
        from stoker.cli.exits import guard

        words = list(sys.argv[1:] if args is None else args)
        code = guard(
            lambda: super(Root, self).main(
                words,
                prog_name=prog_name or "stoker",
                complete_var=complete_var,
                standalone_mode=False,
                **extra,
            ),
            as_json="--json" in words,
        )
        if standalone_mode:
            sys.exit(code)
        return code

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that has gone ends it without a word."""
        from stoker.cli.exits import leave_quietly

        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise leave_quietly() from None

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes."""
        from stoker.cli.exits import MEANINGS

        super().format_epilog(ctx, formatter)
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), text) for code, text in MEANINGS.items()])


@click.group(cls=Root, sections=_SECTIONS, context_settings={"help_option_names": ["-h", "--help"]})
@root_options
@click.version_option(None, "--version", package_name="stoker", message="stoker %(version)s")
def cli(**_common: str | None) -> None:
    """Stoker, a distributed task queue.

    Every command takes --store, --broker, --app, --jobs and --config; what they leave open comes
    from STOKER_* variables, then stoker.toml or stoker.yaml. Reads take --json.
    """


def main() -> NoReturn:
    """Run the command ``stoker``."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # An ASCII terminal must not turn a customer's umlaut into a crash.
            reconfigure(errors="backslashreplace")
    cli.main()
    raise AssertionError("unreachable: Root.main ends the process")


if __name__ == "__main__":
    main()
