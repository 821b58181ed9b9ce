"""One call on a daemon's control socket (daemon/control.py), without asyncio: the answer, or why there is none."""

import errno
import json
import socket
import time
from pathlib import Path
from typing import Any

INTERFACE = "mqvpn.Control"
TIMEOUT = 5.0  # seconds for one answer
LONG_TIMEOUT = 60.0  # for those that ask others
CONNECT = 1.0  # seconds for a place in the daemon's queue
MAX_ANSWER = 1 << 22

EX_FAILED, EX_UNAVAILABLE, EX_NOPERM = 1, 69, 77


class CallError(Exception):
    """No answer; `status` is the exit status that says so, `error` the daemon's name for it."""

    def __init__(self, text: str, status: int, error: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.error = error


def call(path: Path, method: str, *, timeout: float = TIMEOUT, **parameters: Any) -> dict[str, Any]:
    """The parameters of the answer. Raises CallError."""
    request = json.dumps({"method": f"{INTERFACE}.{method}", "parameters": parameters}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        _connect(connection, path)
        connection.settimeout(timeout)
        try:
            connection.sendall(request)
            answer = json.loads(_line(connection))
        except TimeoutError:
            raise CallError(f"no answer within {timeout:.0f} s", EX_FAILED) from None
        except (OSError, ValueError):
            raise CallError("it closed the connection", EX_FAILED) from None
    if "error" in answer:
        raise _refusal(answer["error"], answer.get("parameters") or {})
    found: dict[str, Any] = answer.get("parameters") or {}
    return found


def _connect(connection: socket.socket, path: Path) -> None:
    connection.setblocking(False)
    give_up = time.monotonic() + CONNECT
    while True:
        try:
            connection.connect(str(path))
            return
        except BlockingIOError:
            if time.monotonic() > give_up:
                raise CallError("its control socket is busy", EX_FAILED) from None
            time.sleep(0.02)
        except PermissionError:
            raise CallError("you may not use its control socket", EX_NOPERM) from None
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
                raise CallError("it is not running", EX_UNAVAILABLE) from None
            raise CallError(f"{path}: {error.strerror}", EX_FAILED) from None


def _line(connection: socket.socket) -> bytes:
    answer = b""
    while not answer.endswith(b"\n"):
        part = connection.recv(1 << 16)
        if not part or len(answer) > MAX_ANSWER:
            raise ValueError("no whole answer")
        answer += part
    return answer


def _refusal(error: str, parameters: dict[str, Any]) -> CallError:
    name = error.rpartition(".")[2]
    if name == "PermissionDenied":
        group = parameters.get("group", "mqvpn-admin")
        return CallError(f"only root and members of the group {group} may ask for this", EX_NOPERM, name)
    if name == "MethodNotFound":
        return CallError("it cannot do that", EX_FAILED, name)
    return CallError(str(parameters.get("reason") or name), EX_FAILED, name)
