"""Whether a host is this machine: it needs no key, and is not asked through a proxy."""

import ipaddress

__all__ = ["is_this_machine"]


def is_this_machine(host: str) -> bool:
    """Return whether a host's name or address is a loopback one. Looks nothing up."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
