# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The inner loop: packets between the TUN device and the UDP sockets, through the engine, without Python between.

A turn serves the descriptors that have something to read, and the engine's timers, once. While packets keep coming the
loop waits for them itself (epoll); it returns to Python when the engine has something to tell, when Python has
something to do (a descriptor of its own is readable, or the time it gave has come), or when it is quiet. This module
does I/O and reads the clock, and decides nothing.
"""
from libc.errno cimport ENOSYS, EPERM, errno

from mqvpn.dataplane.engine cimport Engine
from mqvpn.dataplane.packet cimport PacketBatch, PacketRefs
from mqvpn.dataplane.tun cimport Tun
from mqvpn.dataplane.udp cimport SOCKETS, Bursts, Datagrams, Sockets

from mqvpn.dataplane.packet import PacketBatch, PacketRefs
from mqvpn.dataplane.udp import Bursts, Datagrams

cdef extern from "<time.h>" nogil:
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_BOOTTIME
    int clock_gettime(int clock, timespec* now)

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        int fd
    cdef struct epoll_event:
        epoll_data_t data
    int epoll_pwait2(int epoll, epoll_event* events, int most, const timespec* timeout, void* signals)
    int epoll_wait(int epoll, epoll_event* events, int most, int milliseconds)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
    int POLLIN
    int ppoll(pollfd* descriptors, unsigned long count, const timespec* timeout, void* signals)

cdef enum:
    READS = 32                      # reads of the TUN device in one turn
    RECEIVED = 1 << 18              # bytes from one socket in one turn, or one batch;
    EACH = 512                      # to which each datagram adds so many, since small ones take time, too
    ROUNDS = 256                    # rounds of Engine.transmit() in one turn
    EVENTS = SOCKETS + 2            # descriptors that are waited for

cdef double LINGER = 0.050          # seconds of silence that end the loop: a way through asyncio costs 100 us of CPU
cdef double FOREVER = 1e30


cdef inline double clock() noexcept nogil:
    """Seconds of CLOCK_BOOTTIME."""
    cdef timespec now
    clock_gettime(CLOCK_BOOTTIME, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


cdef int epoll_for(int epoll, epoll_event* events, const timespec* timeout) noexcept nogil:
    """epoll_pwait2(), also by the older calls: Linux has it since 5.11, and containers' filters refuse what they do not
    know. A failure is 0, as if nothing had come."""
    cdef int count = epoll_pwait2(epoll, events, EVENTS, timeout, NULL)
    cdef pollfd one
    if count < 0 and (errno == ENOSYS or errno == EPERM):
        one.fd, one.events = epoll, POLLIN
        ppoll(&one, 1, timeout, NULL)
        count = epoll_wait(epoll, events, EVENTS, 0)
    return count if count > 0 else 0


cdef class Mover:
    cdef Engine engine
    cdef Tun tun
    cdef Sockets sockets
    cdef int epoll
    cdef int others                 # a descriptor, readable when Python has something to do; or -1
    cdef readonly double overslept  # seconds, the longest that a wait of the last run() took too long
    cdef int numbers[SOCKETS]       # of the sockets to receive from
    cdef int fds[SOCKETS]
    cdef bint readable[SOCKETS]     # by place in `numbers`
    cdef bint tun_readable
    cdef int count
    cdef PacketBatch batch
    cdef PacketRefs refs
    cdef Datagrams datagrams
    cdef Bursts bursts

    def __init__(self, Engine engine, Tun tun, Sockets sockets, int epoll, int others=-1):
        self.engine, self.tun, self.sockets, self.epoll, self.others = engine, tun, sockets, epoll, others
        self.batch, self.refs = PacketBatch(), PacketRefs()
        self.datagrams, self.bursts = Datagrams(), Bursts()

    def watch(self, sockets):
        self.count = 0
        for number, fd in sockets.items():
            self.numbers[self.count], self.fds[self.count] = number, fd
            self.count += 1

    def run(self, double python_due):
        cdef double now = clock()
        cdef int i
        self.overslept = 0.0
        self.tun_readable = True            # which descriptor asyncio saw is not known
        for i in range(self.count):
            self.readable[i] = True
        while True:
            self.turn(now)
            if self.engine.core.arena_used or self.tun.failed:
                return now
            now = clock()
            if now >= python_due or not self.wait(&now, python_due):
                return now

    cpdef transmit(self, double now):
        cdef int rounds = 0
        while rounds < ROUNDS and self.engine.transmit(self.bursts, now):
            self.sockets.send(self.bursts)
            rounds += 1

    def receive_one(self, packet, double now):
        self.engine.receive_one(*packet, self.refs, now)
        self.tun.write(self.refs)

    cdef int turn(self, double now) except -1:
        """What is readable, and the engine's timers, once.

        The kernel answers many a packet before its write() returns (acknowledgements, echoes): the device is read
        after the sockets, so that an answer leaves in the same turn, with our own acknowledgements.
        """
        cdef double due
        cdef int i
        for i in range(self.count):
            if self.readable[i]:
                self.from_socket(self.numbers[i], now)
        if self.tun_readable:
            self.from_tun(now)
        due = self.engine.due()
        if due != 0.0 and due <= now:
            self.engine.timeout(self.refs, now)
            self.tun.write(self.refs)
        self.transmit(now)
        return 0

    cdef int from_socket(self, int number, double now) except -1:
        """What has arrived, up to a limit: before a client's packets the handshakes of a crowd may stand in the same
        queue, and each takes Python milliseconds."""
        cdef int i
        cdef unsigned int total = 0
        cdef bint full = True
        while full and total < RECEIVED and self.sockets.receive(number, self.datagrams):
            full = self.datagrams.count == self.datagrams.capacity
            for i in range(self.datagrams.count):
                total += EACH + self.datagrams.items[i].length
            self.engine.receive(self.datagrams, self.refs, now)
            self.tun_readable |= self.tun.write(self.refs) > 0
        return 0

    cdef int from_tun(self, double now) except -1:
        """Read the device, and send before more is read than the nearest cache holds."""
        cdef int left = READS, count
        while left:
            count = self.tun.read(self.batch, now, left)
            if count == 0:
                break
            left -= count
            self.engine.from_tun(self.batch, now)
            self.transmit(now)
        return 0

    cdef bint wait(self, double* now, double python_due) except -1:
        """Wait for packets or a timer, and set the time; False: it is quiet, or Python is asked for."""
        cdef epoll_event events[EVENTS]
        cdef timespec timeout
        cdef double due = self.engine.due(), before = now[0], span = LINGER
        cdef bint asked = False
        cdef int count, i, k
        if due == 0.0:
            due = FOREVER
        if due - before < span:
            span = due - before if due > before else 0.0
        if python_due - before < span:
            span = python_due - before
        timeout.tv_sec = 0
        timeout.tv_nsec = <long>(span * 1e9)
        with nogil:
            count = epoll_for(self.epoll, events, &timeout)
        now[0] = clock()
        if now[0] - before - span > self.overslept:
            self.overslept = now[0] - before - span
        self.tun_readable = False
        for i in range(self.count):
            self.readable[i] = False
        for k in range(count):
            asked = asked or events[k].data.fd == self.others
            self.tun_readable = self.tun_readable or events[k].data.fd == self.tun.fd
            for i in range(self.count):
                self.readable[i] = self.readable[i] or events[k].data.fd == self.fds[i]
        return not asked and (count > 0 or due <= now[0])
