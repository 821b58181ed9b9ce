"""Accepting connections also when there is no descriptor left for them: they wait, and so does the log."""

import asyncio
import errno
import logging
import socket

log = logging.getLogger(__name__)

# What became of one connection before it was accepted (accept(2)): the next may be whole.
OF_ONE = {errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.ENETDOWN}
OF_ONE |= {errno.EHOSTDOWN, errno.ENONET, errno.EHOSTUNREACH, errno.ENETUNREACH}
PAUSE = 1.0  # seconds until the next try
SILENCE = 60.0  # seconds between two lines that say so


class Acceptor:
    """Accepts on `listening`, a non-blocking socket; `what` it is for the log."""

    def __init__(self, listening: socket.socket, what: str) -> None:
        self._listening = listening
        self._what = what
        self._silent_until = 0.0

    async def next(self) -> socket.socket:
        """The next connection; one that cannot be accepted (EMFILE, ENFILE, ENOBUFS, ENOMEM) is waited for."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listening)
            except OSError as error:
                if error.errno in OF_ONE:
                    await asyncio.sleep(0)
                    continue
                if loop.time() >= self._silent_until:
                    self._silent_until = loop.time() + SILENCE
                    log.warning("%s: %s: connections have to wait", self._what, error.strerror)
                await asyncio.sleep(PAUSE)
            else:
                return connection
