"""
Addresses that a user gives and the server calls: how they are read, and which are refused (T16).

A name is judged by what it resolves to, never by how it is spelled: `parse` brings every spelling
to one, `refusal` looks at the addresses behind it. Whoever connects must connect to the very
address that was judged, since a name may lead elsewhere a moment later.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit

from runyard.domain.errors import Invalid

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PORTS: Final = (80, 443, 8080, 8443)
LONGEST: Final = 2000  # characters of a URL
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f\ud800-\udfff\\<>\"^`{|}]")
_IN_PATHS: Final = "%/:=&?~+!$,;'@()*[]-._"

# They hand out the credentials of the machine. No network that an operator opens opens these.
_METADATA: Final = frozenset(
    map(
        ipaddress.ip_address,
        (
            "169.254.169.254", "169.254.170.2", "169.254.170.23", "100.100.100.200",
            "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
        ),
    )
)  # fmt: skip


def _nets(**named: str) -> list[tuple[Network, str]]:
    return [
        (ipaddress.ip_network(net), name.replace("_", " "))
        for name, nets in named.items()
        for net in nets.split()
    ]


_CLOSED: Final = _nets(
    loopback="127.0.0.0/8 ::1/128",
    unspecified="0.0.0.0/8 ::/128",
    link_local="169.254.0.0/16 fe80::/10",
    private="10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fec0::/10",
    shared_by_a_carrier="100.64.0.0/10",
    multicast="224.0.0.0/4 ff00::/8",
    a_tunnel="2001::/32 2002::/16 192.88.99.0/24 64:ff9b::/96 64:ff9b:1::/48",
    reserved="192.0.0.0/24 192.0.2.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 "
    "2001::/23 2001:db8::/32 3fff::/20",
)
_GLOBAL_V6: Final = ipaddress.ip_network("2000::/3")  # all else is not assigned for hosts


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was read. `host` is in lower case, in ASCII, without brackets or a last dot."""

    scheme: str
    host: str
    port: int
    path: str  # with the query, never empty

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def shown(self) -> str:
        """The URL without its path: in that, services of chats put what opens them."""
        return f"{self.scheme}://{self.authority}/…"


def parse(url: str, ports: Collection[int] = PORTS) -> Target:
    """Read a URL to which the server may be asked to send something.

    Raises:
        Invalid: not http or https, with a user or password in it, to a port that is not one of
            `ports`, or with a host that is no plain name and no plain address.
    """
    if len(url) > LONGEST:
        raise Invalid(f"the URL has {len(url)} characters; {LONGEST} are the most")
    if _UNSAFE.search(url):
        raise Invalid("the URL has blanks, control or other characters that no URL has")
    try:
        parts = urlsplit(url)
        given = parts.port
    except ValueError as error:
        raise Invalid(f"the URL cannot be read: {error}") from error
    if parts.scheme not in _DEFAULT_PORTS:
        raise Invalid("the URL must begin with https:// or http://")
    if "@" in parts.netloc:
        raise Invalid("the URL has a user or password in it", hint="leave out what is before '@'")
    port = _DEFAULT_PORTS[parts.scheme] if given is None else given
    if port not in ports:
        raise Invalid(
            f"port {port} is not open to requests; {', '.join(map(str, sorted(ports)))} are",
            hint="an operator can open more: RUNYARD_WEBHOOK_PORTS",
        )
    return Target(parts.scheme, _host(parts), port, _path(parts))


def refusal(address: str, allowed: Collection[Network] = ()) -> str:
    """Say why nothing may be sent to an address; empty if it may. `allowed` opens networks."""
    try:
        found: Address = ipaddress.ip_address(address)
    except ValueError:
        return "no address"
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id is not None:
            return "link local"
        found = found.ipv4_mapped or found
    if found in _METADATA:
        return "the metadata service of a cloud"
    if any(found in network for network in allowed):
        return ""
    for network, name in _CLOSED:
        if found in network:
            return name
    if found.version == 6 and found not in _GLOBAL_V6:
        return "not public"
    return ""


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        try:
            address = ipaddress.IPv6Address(host)
        except ValueError as error:
            raise Invalid(f"the URL's host {host!r} is no IPv6 address") from error
        if address.scope_id is not None:
            raise Invalid(f"the URL's host {host!r} names a network interface")
        return str(address)
    try:
        # Foreign digits and dots become plain ones here, before anybody looks at them.
        name = host.encode("idna").decode().lower().removesuffix(".")
    except UnicodeError as error:
        raise Invalid(f"the URL's host {host!r} is no name") from error
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _plain_v4(name)
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Invalid(f"the URL's host {host!r} is no name")
    return name


def _plain_v4(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError as error:
        raise Invalid(
            f"the URL's host {text!r} is an address in an unusual spelling",
            hint="write it as four decimal numbers: 192.0.2.1",
        ) from error


def _path(parts: SplitResult) -> str:
    query = f"?{parts.query}" if parts.query else ""
    return quote((parts.path or "/") + query, safe=_IN_PATHS)
