"""A RabbitMQ server for tests: every socket of it, and of its port mapper, on loopback only."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from tests.servers.server import Server, accepts, free_port

USER = "stoker"
PASSWORD = "a pass/word:@"
_PROGRAMS = "/usr/lib/rabbitmq/bin"


class RabbitMQ(Server):
    """A ``rabbitmq-server`` with a cookie, a port mapper and a data folder of its own."""

    name = "rabbitmq"
    user: str | None = "rabbitmq"
    start_within = 240.0
    system: ClassVar[Path | None] = None
    """A folder with another Debian in it, whose RabbitMQ is meant: ``pytest --rabbitmq=FOLDER``."""

    def __init__(self, *options: str, consumer_timeout: int = 0, tls: Path | None = None) -> None:
        """Prepare a server.

        Args:
            options: More lines of ``rabbitmq.conf``.
            consumer_timeout: Milliseconds for which a delivery may be unacknowledged; it is looked
                at each second. 0: the server's default.
            tls: A folder with ``ca.pem``, ``server.pem`` and ``server.key``: listen with TLS too.
        """
        super().__init__()
        self.tls_port = free_port()
        self._mapper_port = free_port()
        self._distribution_port = free_port()
        self._mapper: subprocess.Popen[bytes] | None = None
        self._write_configuration(options, tls)
        self._write_private(".erlang.cookie", secrets.token_hex(20))
        # In rabbitmq.conf, version 4 would take what stands before a colon for the way in which a
        # password is encrypted.
        terms = [f'{{default_pass, <<"{PASSWORD}">>}}']
        if consumer_timeout:
            terms += [f"{{consumer_timeout, {consumer_timeout}}}", "{channel_tick_interval, 1000}"]
        (self.folder / "advanced.config").write_text(f"[{{rabbit, [{', '.join(terms)}]}}].")
        (self.folder / "enabled_plugins").write_text("[].")
        (self.folder / "env.conf").write_text("")
        self._own_all()

    @property
    def url(self) -> str:
        """Where it is, for a broker."""
        return self.url_of()

    def url_of(self, *, vhost: str = "", password: str = PASSWORD, options: str = "") -> str:
        """Return where it is, said otherwise."""
        secret = quote(password, safe="")
        place = f"{USER}:{secret}@127.0.0.1:{self.port}/{quote(vhost, safe='')}"
        return f"amqp://{place}?{options}" if options else f"amqp://{place}"

    def command(self) -> list[str]:
        """See `Server.command`."""
        return self._there([f"{_PROGRAMS}/rabbitmq-server"])

    def variables(self) -> dict[str, str]:
        """See `Server.variables`."""
        folder = str(self.folder)
        return {
            "HOME": folder,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._mapper_port),
            # Replaces the shell by the server: signals reach it.
            "RUNNING_UNDER_SYSTEMD": "1",
            "RABBITMQ_NODENAME": f"stoker{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false +S 1:1 +sbwt none"
            ),
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/env.conf",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
        }

    def start(self) -> None:
        """Start the port mapper, unless it runs, and the server."""
        if self._mapper is None:
            self._mapper = subprocess.Popen(
                ["/usr/bin/epmd", "-address", "127.0.0.1", "-port", str(self._mapper_port)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self.folder,
                user=self.account(),
            )
        super().start()

    def starter(self) -> str | None:
        """See `Server.starter`. Only root may enter another system."""
        return self.account() if self.system is None else None

    def _there(self, words: list[str]) -> list[str]:
        """Return a command line that runs in the other system, if one is meant."""
        if self.system is None:
            return words
        account = pwd.getpwnam(self.user or "")
        shared = self.folder.parent
        enter = (
            f'mount --bind {shared} "{self.system}{shared}" && '
            f'mount --bind /proc "{self.system}/proc" && '
            f'exec chroot --userspec={account.pw_uid}:{account.pw_gid} "{self.system}" "$@"'
        )
        return ["unshare", "--mount", "sh", "-c", enter, "sh", *words]

    def is_ready(self) -> bool:
        """See `Server.is_ready`. It listens when everything else is done."""
        return accepts(self.port)

    def ctl(self, *words: str) -> str:
        """Run ``rabbitmqctl`` on this server and return what it said."""
        done = subprocess.run(
            self._there([f"{_PROGRAMS}/rabbitmqctl", "--quiet", *words]),
            env={**os.environ, **self.variables()},  # noqa: TID251 - handed on, not read
            cwd=self.folder,
            user=self.starter(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def close(self) -> None:
        """Kill the server and its port mapper, and remove its folder."""
        self.kill()
        mapper, self._mapper = self._mapper, None
        if mapper is not None:
            mapper.send_signal(signal.SIGKILL)
            mapper.wait()
        super().close()

    def _write_configuration(self, options: tuple[str, ...], tls: Path | None) -> None:
        lines = [
            f"listeners.tcp.1 = 127.0.0.1:{self.port}",
            "loopback_users = none",
            f"default_user = {USER}",
            "log.console.level = warning",
            "disk_free_limit.absolute = 1MB",
            *options,
        ]
        if tls is not None:
            lines += [
                f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}",
                f"ssl_options.cacertfile = {self.folder}/ca.pem",
                f"ssl_options.certfile = {self.folder}/server.pem",
                f"ssl_options.keyfile = {self.folder}/server.key",
                "ssl_options.verify = verify_none",
            ]
            for name in ("ca.pem", "server.pem", "server.key"):
                shutil.copy(tls / name, self.folder / name)
        (self.folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")

    def _write_private(self, name: str, text: str) -> None:
        file = self.folder / name
        file.write_text(text)
        file.chmod(0o600)

    def _own_all(self) -> None:
        self.own_folder()
        account = self.account()
        if account is not None:
            for file in self.folder.iterdir():
                shutil.chown(file, account)
