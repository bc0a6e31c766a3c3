"""Where the web face may listen, found out before anything is opened."""

from __future__ import annotations

import errno
import socket

PORTS_TRIED = 100


def free_port(host: str, port: int) -> int:
    """The first free port of `host` from `port` on.

    Raises ValueError for what is no port or no address of this machine, OSError when none may be used.
    """
    if not 0 < port < 65_536:
        raise ValueError(f"--port {port}: expected 1 to 65535")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise ValueError(
            f"--host {host}: no such address; use 127.0.0.1 for this machine only, 0.0.0.0 to let others in"
        ) from None
    for candidate in range(port, min(port + PORTS_TRIED, 65_536)):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address[0], candidate, *address[2:]))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                if error.errno == errno.EADDRNOTAVAIL:
                    raise ValueError(
                        f"--host {host}: not an address of this machine; use 127.0.0.1 or 0.0.0.0"
                    ) from None
                raise OSError(error.errno, f"--port {candidate}: {error.strerror}; use one above 1023") from None
            return candidate
    raise OSError(errno.EADDRINUSE, f"--port {port}: this one and the next {PORTS_TRIED} are in use; give another")


def address_of(host: str, port: int) -> str:
    """The page's address, as a browser on this machine takes it."""
    if host in ("127.0.0.1", "0.0.0.0", "::1", "::"):
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
