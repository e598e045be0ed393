"""Which network addresses a task may open when somebody else chose the URL.

A worker stands inside the network: what it fetches, an outsider may be unable to reach. So the
rule is told by the address that is connected to, never by how the URL spells it.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_PRIVATE_4 = tuple(
    IPv4Network(text)
    for text in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
_PRIVATE_6 = tuple(IPv6Network(text) for text in ("::1/128", "fc00::/7"))

# Nobody's web pages, and therefore refused even where private addresses are allowed.
_NEVER_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "100.100.100.200/32",  # metadata of Alibaba Cloud, inside the carriers' range
        "168.63.129.16/32",  # Azure's wire server, a public address that is inside
        "169.254.0.0/16",  # link-local: metadata of nearly every cloud
        "192.0.0.0/24",  # protocol assignments; metadata of Oracle Cloud
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays to IPv6
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_NEVER_6 = tuple(
    IPv6Network(text)
    for text in (
        "fd00:ec2::254/128",  # metadata of AWS
        "fd20:ce::254/128",  # metadata of Google Cloud
        "2001::/23",  # protocol assignments; Teredo carries an IPv4 address inside
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4 carries an IPv4 address inside
        "3fff::/20",  # documentation
    )
)
_GLOBAL_6 = IPv6Network("2000::/3")
_TRANSLATED_6 = IPv6Network("64:ff9b::/96")


def refusal(address: str, *, allow_private: bool) -> str | None:
    """Say why an address must not be opened, or None if it may.

    Args:
        address: An IP address as text.
        allow_private: Whether private and loopback addresses may. Link-local, metadata, multicast
            and reserved addresses never may.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return "is no IP address"
    inner = _carried(ip)
    if isinstance(inner, IPv4Address):
        return _refusal_4(inner, allow_private=allow_private)
    return _refusal_6(inner, allow_private=allow_private)


def _carried(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            return ip.ipv4_mapped
        # On networks without IPv4 every IPv4 site is reached under this prefix (RFC 6052).
        if ip in _TRANSLATED_6:
            return IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip


def _refusal_4(ip: IPv4Address, *, allow_private: bool) -> str | None:
    if any(ip in network for network in _NEVER_4):
        return "is link-local, a cloud's metadata service, multicast or reserved"
    if not allow_private and any(ip in network for network in _PRIVATE_4):
        return "is a private or loopback address"
    return None


def _refusal_6(ip: IPv6Address, *, allow_private: bool) -> str | None:
    if ip.scope_id is not None:
        return "names a network interface"
    if any(ip in network for network in _NEVER_6):
        return "is a cloud's metadata service, a tunnel or reserved"
    if any(ip in network for network in _PRIVATE_6):
        return None if allow_private else "is a private or loopback address"
    return None if ip in _GLOBAL_6 else "is link-local, multicast or reserved"
