"""Exit statuses, those of sysexits.h where it has one; systemd shows 69, 77 and 78 by name."""

OK = 0
FAILED = 1
USAGE = 2  # argparse's own
UNAVAILABLE = 69  # the server cannot be reached, and Reconnect = false
REFUSED = 77  # the server does not accept our key
CONFIG = 78
