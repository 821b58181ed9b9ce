"""Owned nftables tables: nobody but the owner's netlink socket can change or flush one that has the flag `owner`, and
with `persist` it stays, without owner, when that socket is closed by whatever death.

Linux 6.9 and libnftables 1.1 have both. libnftables holds one socket for each of its contexts, so a context that lives
as long as the daemon owns what it makes, which the short-lived program nft (nft.py) could not. The next one takes over
a table that has no owner any more by replacing it. Others see EPERM at the table, and `nft flush ruleset` passes it by.
"""

import contextlib
import ctypes
import os
import socket

from mqvpn.system.errors import OperationFailed

LIBRARY = "libnftables.so.1"
FLAGS = "flags owner, persist;"
NETLINK_NETFILTER = 12


class Owner:
    """One context of libnftables; close() gives up what it owns, which stays."""

    def __init__(self) -> None:
        """Raises OperationFailed where there is no libnftables."""
        try:
            library = ctypes.CDLL(LIBRARY)
            library.nft_ctx_new.restype = ctypes.c_void_p
            library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
            before = _sockets()
            self._context = ctypes.c_void_p(library.nft_ctx_new(0))
            library.nft_ctx_buffer_error(self._context)
        except (OSError, AttributeError) as error:
            raise OperationFailed("own a firewall table", str(error), "install the package nftables") from error
        self._library = library
        self._fds = _sockets() - before

    def close(self) -> None:
        """May be called again."""
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = ctypes.c_void_p()

    def fileno(self) -> int | None:
        """The socket that owns the tables; libnftables does not tell, so it is the one that it has opened."""
        return next(iter(self._fds)) if len(self._fds) == 1 else None

    def transact(self, script: str, operation: str) -> None:
        """As nft.transact(); what is made there with FLAGS is this one's. Raises OperationFailed."""
        status = self._library.nft_run_cmd_from_buffer(self._context, script.encode())
        text = self._library.nft_ctx_get_error_buffer(self._context)
        if status:
            reason = ((text or b"").decode(errors="replace").strip() or "libnftables refused it").splitlines()[0]
            raise OperationFailed(operation, reason, "see whether `nft list ruleset` works")


def _sockets() -> set[int]:
    """The descriptors of our sockets to the kernel's packet filter."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # it is closed by now
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                with socket.socket(fileno=os.dup(int(fd))) as one:
                    if (one.family, one.proto) == (socket.AF_NETLINK, NETLINK_NETFILTER):
                        found.add(int(fd))
    return found
