"""Exit statuses of the daemons, those of sysexits.h where it has one; 0 is the end that was asked for."""

FAILED = 1
UNAVAILABLE = 69  # the server cannot be reached, and Reconnect = false
REFUSED = 77  # the server does not accept our key, or with Reconnect = false we not its certificate
CONFIG = 78
