"""Who asks: one idea for the HTTP API and for the gateway."""

import msgspec

from stoker.core.keys import KeyInfo, Scope, included
from stoker.core.wire.messages import GatewayScope


class Identity(msgspec.Struct, frozen=True):
    """A caller who proved who he is, or who need not."""

    name: str
    scopes: frozenset[Scope]
    queues: frozenset[str] = frozenset()
    """The only queues he may touch; empty: all."""
    tenant: str | None = None
    """The only tenant whose jobs he may touch; None: all."""
    key: str = ""
    """The id of his API key; empty for whoever showed something else, or nothing."""
    login: str = ""
    """The id of the log-in that he came with, if he did."""

    @property
    def is_bound(self) -> bool:
        """Whether he sees a part of the store only."""
        return self.tenant is not None or bool(self.queues)

    @property
    def gateway_scope(self) -> GatewayScope:
        """What the gateway lets him do, if it lets him in."""
        return "full" if Scope.ADMIN in self.scopes else "worker"

    @property
    def owner(self) -> str:
        """Whose sessions are his: a key's name may serve again, its id never."""
        return f"{self.key}:{self.name}"


EVERYBODY = Identity("anonymous", included([Scope.ADMIN]))
"""Who asks where nobody has to prove anything."""
NOBODY = Identity("nobody", frozenset())
"""Who asks what is open to all."""


def identity_of(key: KeyInfo) -> Identity:
    """Return whom a key stands for, whether it is valid or not."""
    spec = key.spec
    return Identity(
        name=spec.name,
        scopes=included(spec.scopes),
        queues=frozenset(spec.queues),
        tenant=spec.tenant,
        key=spec.login_of or spec.id,
        login=spec.id if spec.login_of else "",
    )
