"""What the operator is told when Linux refuses something: the operation, the reason, and what to do."""

import errno
import os


class OperationFailed(Exception):
    """A request to the kernel or to a system tool was refused; `str()` is one line for the operator."""

    def __init__(self, operation: str, reason: str, hint: str, code: int = errno.EIO) -> None:
        """code: the errno."""
        super().__init__(f"{operation}: {reason}; {hint}")
        self.code = code


HINTS = {
    errno.EPERM: "run it as root or with CAP_NET_ADMIN",
    errno.EACCES: "run it as root or with CAP_NET_ADMIN; for IPv6, see that disable_ipv6 is 0",
    errno.ENODEV: "check the name of the interface (ip link)",
    errno.EEXIST: "another program already put the same thing there: remove it",
    errno.EAFNOSUPPORT: "this kernel has no IPv6: take the IPv6 settings out of the configuration",
    errno.EMFILE: "raise its limit of open files (LimitNOFILE= in its unit)",
    errno.EOPNOTSUPP: "this kernel lacks the feature",
}


def refused(operation: str, code: int, hint: str = "") -> OperationFailed:
    """The error for errno `code`; `hint` replaces the general advice for that number."""
    advice = hint or HINTS.get(code, "see the kernel's log (journalctl -k)")
    return OperationFailed(operation, os.strerror(code), advice, code)


def is_exhaustion(error: BaseException | None) -> bool:
    """Whether there was no file descriptor left, for this process or on this machine, wherever that came to light."""
    while error is not None:
        code = error.code if isinstance(error, OperationFailed) else getattr(error, "errno", None)
        if code in (errno.EMFILE, errno.ENFILE):
            return True
        error = error.__context__
    return False
