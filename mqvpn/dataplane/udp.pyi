# Address text and port; IPv4 never as ::ffff:a.b.c.d; link-local as fe80::1%INDEX.
Endpoint = tuple[str, int]

class Datagrams:
    """One receive batch, 8 slots: each one datagram or several of equal size (the last may be shorter)."""

    def __len__(self) -> int: ...
    def append(
        self, socket: int, remote: Endpoint, local: Endpoint, data: bytes, segment: int = 0, ecn: int = 0
    ) -> None:
        """Fill the next slot with one datagram, or with equal ones of `segment` bytes. ValueError: full."""
    def datagrams(self) -> list[tuple[int, Endpoint, Endpoint, bytes]]:
        """(socket, remote, local, datagram) for each datagram, slots split into their segments."""
    def ecn(self) -> list[int]:
        """The ECN field of each slot (RFC 3168, section 5)."""
    def clear(self) -> None:
        """Forget all slots."""

class Bursts:
    """What is to be sent now, 8 slots like those of Datagrams."""

    def __len__(self) -> int: ...
    def append(self, socket: int, remote: Endpoint, local: Endpoint, data: bytes, segment: int = 0) -> None:
        """Add datagrams, Not-ECT, of `segment` bytes; local ("::", 0): the kernel chooses. ValueError: full."""
    def datagrams(self) -> list[tuple[int, Endpoint, Endpoint, bytes]]:
        """(socket, remote, local, datagram) for each datagram of each burst."""
    def ecn(self) -> list[int]:
        """The ECN field of each datagram of each burst (RFC 3168, section 5)."""
    def clear(self) -> None:
        """Forget all bursts."""

class Sockets:
    """The UDP sockets, named 0 to 15. Descriptors stay the caller's."""

    def add(self, socket: int, fd: int, family: int, gso: bool = True, gro: bool = True) -> None:
        """Use a bound UDP socket under this name. OSError: the kernel cannot report local addresses.
        gso, gro: whether to use UDP_SEGMENT and UDP_GRO where the kernel has them."""
    def remove(self, socket: int) -> None:
        """Forget the socket; bursts for it are dropped from now on."""
    def receive(self, socket: int, batch: Datagrams) -> int:
        """Replace the batch by what has arrived, at most 8 slots; the number of slots, 0: nothing (more)."""
    def send(self, bursts: Bursts) -> int:
        """Send all bursts, which are empty afterwards; the number of datagrams the kernel took."""
    def drops(self) -> dict[int, int]:
        """Datagrams given up since the start, by Drop."""
    def offloads(self) -> dict[int, tuple[bool, bool]]:
        """(sends with UDP_SEGMENT, receives with UDP_GRO) of each socket."""
