"""Ports of this machine: whether one can be had, and one that nobody has."""

import socket

from enfold.errors import Conflict


def check_free(host: str, port: int) -> None:
    """Raises Conflict if something listens there already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Conflict(
                f"port {port} of {host} cannot be had ({error.strerror}): stop what uses it, or give another --port"
            ) from None


def free() -> int:
    """A port of the loopback address that nothing uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
