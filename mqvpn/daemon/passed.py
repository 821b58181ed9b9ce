"""What systemd passed to this daemon: its sockets, and the descriptors that it kept while the daemon was away.

The store keeps the TUN device as `tun`, so its addresses and routes outlive the process, and the UDP sockets by their
interface: a restarted client sends from the ports it had. What no longer fits the configuration is thrown away. What
owns the firewall table of the kill switch is kept, too, so that the table never is without an owner.
"""

import logging
import os
import socket

from mqvpn.config.values import HostPort
from mqvpn.system import activation, keeper, sockets, tun

log = logging.getLogger(__name__)

TUN, LISTENING, PATH = "tun", "listen", "path-"


class ListenDiffers(Exception):
    """The socket that systemd opened is not the one of the configuration; `str()` says what to change."""


class Passed:
    """The descriptors, each to be taken once; close() gives up the rest."""

    def __init__(self) -> None:
        self._fds = activation.inherited()

    def control(self) -> socket.socket | None:
        """The listening control socket of the socket unit."""
        fds = self._fds.pop(activation.CONTROL, [])
        for fd in fds[1:]:
            os.close(fd)
        return socket.socket(fileno=fds[0]) if fds else None

    def block_owner(self) -> list[int]:
        """What owns the table of the kill switch. It stays in the store until the next owner has it (keeper.py)."""
        return self._fds.pop(keeper.STORED, [])

    def server_socket(self, listen: HostPort) -> socket.socket:
        """The server's UDP socket: that of the socket unit, the stored one, or a fresh one, which is stored.

        Raises ListenDiffers, OperationFailed.
        """
        units = [udp for fd in self._fds.pop(activation.UDP, []) if (udp := sockets.adopt_socket(fd))]
        if units:
            self._discard(LISTENING)
            return _the_one(units, listen)
        stored = self._stored(LISTENING)
        if stored is not None and sockets.listens_on(stored) == _plain(listen):
            return stored
        if stored is not None:
            stored.close()
        self._discard(LISTENING)
        udp = sockets.open_server_socket(listen.host, listen.port)
        activation.store(LISTENING, udp.fileno())
        return udp

    def path_socket(self, interface: str, index: int, mark: int) -> socket.socket:
        """A client's UDP socket on an interface ("" for any); see server_socket. Raises OperationFailed."""
        name = PATH + interface
        stored = self._stored(name)
        if stored is not None and sockets.bound_to(stored) == index:
            return stored
        if stored is not None:
            stored.close()
        activation.unstore(name)
        udp = sockets.open_path_socket(interface or None, mark)
        activation.store(name, udp.fileno())
        return udp

    def forget_path(self, interface: str) -> None:
        """The interface is gone, and its socket of no use any more."""
        activation.unstore(PATH + interface)

    def another_tun(self, name: str) -> tun.Tun:
        """A fresh TUN device in place of the stored one, which somebody deleted. Raises OperationFailed."""
        activation.unstore(TUN)
        return self.tun(name)

    def tun(self, name: str) -> tun.Tun:
        """The stored TUN device if it has this name, else a fresh one, which is stored. Raises OperationFailed."""
        for fd in self._fds.pop(TUN, []):
            if device := tun.adopt_tun(fd, name):
                log.debug("%s: taken over", name)
                return device
            activation.unstore(TUN)
        device = tun.open_tun(name)
        activation.store(TUN, device.fd)
        return device

    def close(self) -> None:
        """Close what nobody took, here and in the store: of an interface that is no longer configured, say."""
        for name in list(self._fds):
            self._discard(name)

    def _stored(self, name: str) -> socket.socket | None:
        fds = self._fds.pop(name, [])
        for fd in fds[1:]:
            os.close(fd)
        return sockets.adopt_socket(fds[0]) if fds else None

    def _discard(self, name: str) -> None:
        for fd in self._fds.pop(name, []):
            os.close(fd)
        activation.unstore(name)


def _plain(listen: HostPort) -> str:
    return str(HostPort(str(listen.address), listen.port))


def _the_one(units: list[socket.socket], listen: HostPort) -> socket.socket:
    addresses = [sockets.listens_on(udp) for udp in units]
    if addresses == [_plain(listen)]:
        return units[0]
    for udp in units:
        udp.close()
    raise ListenDiffers(
        f"systemd's socket is UDP {' and '.join(addresses)}, [Interface] Listen is {listen}: write the same into both "
        "(systemctl edit mqvpn-server.socket)"
    )
