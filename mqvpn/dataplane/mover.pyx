# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The inner loop: packets between the TUN device and the UDP sockets, through the engine, without Python between.

A turn serves the descriptors that have something to read, and the engine's timers, once. While packets keep coming the
loop waits for them itself (epoll, some milliseconds at most); it returns to Python when the engine has something to
tell, when one of Python's timers is due, when it is quiet, or when its slice of time is used up. This module does I/O
and reads the clock, and decides nothing.
"""
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

cdef enum:
    READS = 32                      # reads of the TUN device in one turn
    ROUNDS = 32                     # rounds of Engine.transmit() in one turn, each at most 8 x 64 KB
    EVENTS = SOCKETS + 1            # descriptors that are waited for

cdef double SLICE = 0.030           # seconds before asyncio's other tasks have their turn
cdef double LINGER = 0.004          # seconds of silence that end the loop: a way through asyncio costs 100 us of CPU
cdef double FOREVER = 1e30


cdef inline double clock() noexcept nogil:
    """Seconds of CLOCK_BOOTTIME."""
    cdef timespec now
    clock_gettime(CLOCK_BOOTTIME, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


cdef class Mover:
    cdef Engine engine
    cdef Tun tun
    cdef Sockets sockets
    cdef int epoll
    cdef int numbers[SOCKETS]       # of the sockets to receive from
    cdef int fds[SOCKETS]
    cdef bint readable[SOCKETS]     # by place in `numbers`
    cdef bint tun_readable
    cdef int count
    cdef PacketBatch batch
    cdef PacketRefs refs
    cdef Datagrams datagrams
    cdef Bursts bursts

    def __init__(self, Engine engine, Tun tun, Sockets sockets, int epoll):
        self.engine, self.tun, self.sockets, self.epoll = engine, tun, sockets, epoll
        self.batch, self.refs = PacketBatch(), PacketRefs()
        self.datagrams, self.bursts = Datagrams(), Bursts()

    def watch(self, sockets):
        self.count = 0
        for number, fd in sockets.items():
            self.numbers[self.count], self.fds[self.count] = number, fd
            self.count += 1

    def run(self, double python_due):
        cdef double start = clock(), now = start
        cdef int i
        self.tun_readable = True            # which descriptor asyncio saw is not known
        for i in range(self.count):
            self.readable[i] = True
        while True:
            self.turn(now)
            if self.engine.core.arena_used:
                return now
            now = clock()
            if now >= python_due or now - start > SLICE:
                return now
            if not self.wait(now, python_due):
                return clock()

    def transmit(self, double now):
        cdef int rounds = 0
        while rounds < ROUNDS and self.engine.transmit(self.bursts, now):
            self.sockets.send(self.bursts)
            rounds += 1

    def receive_one(self, packet, double now):
        self.engine.receive_one(*packet, self.refs, now)
        self.tun.write(self.refs)

    cdef int turn(self, double now) except -1:
        """What is readable, and the engine's timers, once."""
        cdef double due
        cdef int i
        if self.tun_readable and self.tun.read(self.batch, now, READS):
            self.engine.from_tun(self.batch, now)
        for i in range(self.count):
            if self.readable[i] and self.sockets.receive(self.numbers[i], self.datagrams):
                self.engine.receive(self.datagrams, self.refs, now)
                self.tun.write(self.refs)
        due = self.engine.due()
        if due != 0.0 and due <= now:
            self.engine.timeout(self.refs, now)
            self.tun.write(self.refs)
        self.transmit(now)
        return 0

    cdef bint wait(self, double now, double python_due) except -1:
        """Wait for packets or a timer; False: it is quiet."""
        cdef epoll_event events[EVENTS]
        cdef timespec timeout
        cdef double due = self.engine.due(), span = LINGER
        cdef int count, i, k
        if due == 0.0:
            due = FOREVER
        if due - now < span:
            span = due - now if due > now else 0.0
        if python_due - now < span:
            span = python_due - now
        timeout.tv_sec = 0
        timeout.tv_nsec = <long>(span * 1e9)
        with nogil:
            count = epoll_pwait2(self.epoll, events, EVENTS, &timeout, NULL)
        self.tun_readable = False
        for i in range(self.count):
            self.readable[i] = False
        for k in range(count):
            self.tun_readable = self.tun_readable or events[k].data.fd == self.tun.fd
            for i in range(self.count):
                self.readable[i] = self.readable[i] or events[k].data.fd == self.fds[i]
        return count > 0 or due <= clock()
