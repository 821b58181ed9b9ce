"""A persistent TUN device that somebody else made: how it was is noted before it is changed, and brought back.

One of our own takes its addresses along when it is closed; this one would keep them, and our MTU.
"""

from ipaddress import ip_interface

from mqvpn.system import tun
from mqvpn.system.link import Netlink, TunLink
from mqvpn.system.undo import Lent, Undo

GSO_MAX_SIZE = 65536  # bytes: of a kernel that does not tell


def remember(undo: Undo, netlink: Netlink, device: tun.Tun) -> None:
    """Note how the device is, unless a predecessor did. Raises OperationFailed."""
    former = undo.record.lent
    if former is not None and former.name != device.name:
        give_back(undo, netlink)
        former = None
    if former is None and tun.is_lent(device):
        found = netlink.found(device.name)
        undo.note(
            lent=Lent(
                name=found.name,
                mtu=found.mtu,
                addresses=tuple(map(str, found.addresses)),
                up=found.up,
                queue=found.queue,
                gso_max_size=found.gso_max_size or GSO_MAX_SIZE,
            )
        )


def give_back(undo: Undo, netlink: Netlink) -> None:
    """Bring the device to what it was, if there still is one. Raises OperationFailed."""
    former = undo.record.lent
    if former is None:
        return
    if tun.exists(former.name):
        netlink.configure(
            TunLink(
                name=former.name,
                mtu=former.mtu,
                addresses=tuple(map(ip_interface, former.addresses)),
                up=former.up,
                queue=former.queue,
                gso_max_size=former.gso_max_size,
            )
        )
    undo.done("lent")
