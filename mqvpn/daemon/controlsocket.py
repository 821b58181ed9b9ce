"""Where a daemon's control socket is, and opening it: systemd's, or one of our own; and the C mqvpn's control port."""

import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mqvpn.config.client import ClientSettings
from mqvpn.config.server import ServerSettings
from mqvpn.system.errors import OperationFailed, is_exhaustion
from mqvpn.system.sockets import open_tcp_socket
from mqvpn.system.unixsocket import Listener, open_listener

log = logging.getLogger(__name__)

NOWHERE = "none"
NOT_LOOPBACK = "whoever reaches it could read who the users are; write 127.0.0.1, or add Remote = true"
RUN = "/run/mqvpn"


def default_path(settings: ClientSettings | ServerSettings) -> Path:
    """server.sock or client-NAME.sock in $RUNTIME_DIRECTORY (the first of several), else in /run/mqvpn."""
    folder = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or RUN
    stem = f"client-{settings.name}" if isinstance(settings, ClientSettings) else "server"
    return Path(folder, f"{stem}.sock")


@contextmanager
def control_listener(
    settings: ClientSettings | ServerSettings, inherited: socket.socket | None = None
) -> Iterator[Listener | None]:
    """The listening control socket: `inherited`, which systemd made, or one by the settings.

    None: it is not wanted, or only its default place cannot be written to. Raises OperationFailed.
    """
    listener: Listener | None = None
    if inherited is not None:
        listener = Listener(inherited)
    elif settings.control_socket != NOWHERE:
        listener = _open(settings)
    try:
        yield listener
    finally:
        if listener is not None:
            listener.close()


def _open(settings: ClientSettings | ServerSettings) -> Listener | None:
    try:
        return open_listener(Path(settings.control_socket or default_path(settings)))
    except OperationFailed as error:
        cause = error.__cause__
        in_use = not isinstance(cause, OSError) or cause.errno == errno.EADDRINUSE
        if settings.control_socket or in_use or is_exhaustion(error):
            raise
        log.warning("no control socket: %s", error)
        return None


@contextmanager
def control_port(settings: ServerSettings) -> Iterator[socket.socket | None]:
    """The listening TCP socket of [Control] Listen; None: it is not wanted, or others could reach it.

    Raises OperationFailed.
    """
    listen = settings.control_listen
    address = None if listen is None else listen.address
    if listen is None or address is None:
        yield None
    elif not address.is_loopback and not settings.control_remote:
        log.warning("[Control] Listen = %s is not served: %s", listen, NOT_LOOPBACK)
        yield None
    else:
        with open_tcp_socket(listen.host, listen.port) as listening:
            yield listening
