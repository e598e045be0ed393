"""What an examination finds, and the judgments that all engines share. Pure: facts in, words out.

An engine's own facts are asked by its adapter and judged beside it; whoever reads the findings
needs to know no engine.
"""

import ipaddress
from typing import Literal

import msgspec

Verdict = Literal["ok", "note", "warning", "problem"]

SKEW = 2.0
"""Seconds by which two clocks may differ before it is worth a warning."""
ROOM = 0.8
"""The share of a limit from which on it is nearly reached."""
LOCAL_HOSTS = frozenset({"", "localhost", "localhost.localdomain"})


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found."""

    check: str
    """What was looked at, in a word or two."""
    verdict: Verdict = "ok"
    """``note``: worth knowing. ``warning``: something can be lost or fail. ``problem``: it does not
    work, or accepted jobs will be lost."""
    found: str
    risk: str = ""
    """What can be lost, or go wrong, as long as it stays like that."""
    fix: str = ""
    """What to do: a command, or a setting."""
    code: str = ""
    """The code of the error that stopped the check, if one did."""


def ok(check: str, *, found: str) -> Finding:
    """Return the finding of something that is as it should be."""
    return Finding(check=check, found=found)


def note(check: str, *, found: str, risk: str, fix: str) -> Finding:
    """Return the finding of something worth knowing."""
    return Finding(check=check, verdict="note", found=found, risk=risk, fix=fix)


def warning(check: str, *, found: str, risk: str, fix: str) -> Finding:
    """Return the finding of something by which jobs can be lost or fail some day."""
    return Finding(check=check, verdict="warning", found=found, risk=risk, fix=fix)


def problem(check: str, *, found: str, risk: str, fix: str, code: str = "") -> Finding:
    """Return the finding of something that does not work, or loses accepted jobs."""
    return Finding(check=check, verdict="problem", found=found, risk=risk, fix=fix, code=code)


def judge_clock(skew: float) -> Finding:
    """Judge how far this machine's clock is from the store's.

    Args:
        skew: Seconds; the sign does not matter.
    """
    found = f"the store's clock differs from this machine's by {abs(skew):.1f} s"
    if abs(skew) <= SKEW:
        return ok("clock", found=found)
    return warning(
        "clock",
        found=found,
        risk="times in logs and in the store do not fit together; what is due is due by the "
        "store's clock",
        fix="set the clocks of both machines by NTP",
    )


def judge_connections(*, needed: int, used: int, limit: int, processes: int, fix: str) -> Finding:
    """Judge whether an engine has room for the connections of all processes.

    Args:
        needed: Connections that the processes may open together.
        used: Connections that are open now, from whomever.
        limit: The most that the engine gives to this user.
        processes: Stoker's processes: the workers of the fleet and a server.
        fix: How to raise the limit, or to need less.
    """
    wanted = f"{processes} processes may open up to {needed:,} connections"
    found = f"{used:,} of {limit:,} connections are in use; {wanted}"
    if needed <= limit * ROOM:
        return ok("connections", found=found)
    judge = problem if needed > limit else warning
    return judge(
        "connections",
        found=found,
        risk="workers and submits fail with 'too many connections' under load",
        fix=fix,
    )


def judge_durability(level: str, can_lose: str, *, fix: str) -> Finding:
    """Judge what a store promises.

    Args:
        level: ``full``, ``fast`` or ``none``.
        can_lose: What can be lost, in words.
        fix: How to lose less.
    """
    found = f"{level}; can be lost: {can_lose}"
    if level == "full":
        return ok("durability", found=found)
    judge = warning if level == "fast" else problem
    return judge("durability", found=found, risk="jobs that were accepted", fix=fix)


def judge_encryption(*, encrypted: bool, checked: bool, host: str, fix: str) -> Finding:
    """Judge what protects the way to an engine.

    Args:
        encrypted: Whether the connection is by TLS.
        checked: Whether the certificate is compared with an authority and a name.
        host: Where the engine is: on loopback nobody can listen in.
        fix: How to switch both on.
    """
    if encrypted and checked:
        return ok("encryption", found="TLS, and the certificate is checked")
    if is_local(host):
        return ok("encryption", found="not needed: the way does not leave this machine")
    if encrypted:
        return warning(
            "encryption",
            found="TLS, but nobody checks the certificate",
            risk="whoever gets between can pose as the server, and reads password and payloads",
            fix=fix,
        )
    return warning(
        "encryption",
        found=f"the way to {host} is not encrypted",
        risk="whoever is on the way reads payloads, and perhaps the password",
        fix=fix,
    )


def is_local(host: str) -> bool:
    """Whether a host is this machine: a loopback address, a socket's path, or ``localhost``."""
    plain = host.strip("[]").lower()
    if plain in LOCAL_HOSTS or plain.startswith(("/", "@")):
        return True
    try:
        return ipaddress.ip_address(plain).is_loopback
    except ValueError:
        return False


def judge_layout(
    *, current: int | None, latest: int, may_make: bool, place: str, fix: str = "stoker db migrate"
) -> Finding:
    """Judge the version of a store's layout.

    Args:
        current: The version that is there; None: there is nothing yet.
        latest: The version that this Stoker needs.
        may_make: Whether this user may make or change it.
        place: Where it is: a file, a schema, a namespace.
        fix: What brings it up to date.
    """
    found = f"{place} has layout {current}, and this Stoker knows {latest}"
    if current is None and may_make:
        return ok("layout", found=f"{place} is empty; the first opening makes the layout")
    if current is None:
        return problem(
            "layout",
            found=f"{place} is not there, and this user may not make it",
            risk="nothing can be opened",
            fix=f"{fix}, as a user who may",
        )
    if current > latest:
        return problem(
            "layout",
            found=f"{found}: a newer Stoker wrote it",
            risk="this Stoker refuses to open it",
            fix="upgrade Stoker here: pip install --upgrade stoker",
        )
    if current < latest:
        return problem(
            "layout",
            found=found,
            risk="this Stoker refuses to open it until it is brought up to date",
            fix=fix if may_make else f"{fix}, as a user who may change it",
        )
    return ok("layout", found=f"version {current}, the newest")
