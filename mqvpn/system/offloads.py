"""Offloads that are to be left aside although the kernel has them.

Each of them has a fallback for kernels without it. `MQVPN_WITHOUT=gso,gro` in the environment of a daemon takes the
fallback anyway, so that tests and benches reach every one of them on any kernel.
"""

from __future__ import annotations

import os

from mqvpn.system.errors import OperationFailed

VARIABLE = "MQVPN_WITHOUT"
VNET_HDR, TSO, USO, GSO, GRO = NAMES = ("vnet_hdr", "tso", "uso", "gso", "gro")
HINT = f"write some of {', '.join(NAMES)}, with commas between"


def without() -> frozenset[str]:
    """The names in the environment; raises OperationFailed for one that is no offload."""
    found = frozenset(os.environ.get(VARIABLE, "").replace(",", " ").split())
    if unknown := found - set(NAMES):
        raise OperationFailed(f"read {VARIABLE}", f"no such offload: {', '.join(sorted(unknown))}", HINT)
    return found
