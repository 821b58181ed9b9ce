# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What time does to a connection: delayed acks, loss by time, silent paths, probes, keep-alive, pacing.

A path is *silent* once its oldest ack-eliciting packet in flight is older than one probe timeout (RFC 9002, section
6.2.1, without backoff) and no ack has brought news since. It is probed, at first after each PTO and never less often
than PROBE_MOST, and its control frames go out again at once. It is *suspect* too, so that new packets leave it, unless
the silence is not the path's own: we overslept our deadline, and acks may wait unread; or all paths are as silent, and
it is the peer that does not answer. Then it has one more PTO, once, before it is suspect. An ack ends that.
"""
from libc.stdint cimport uint32_t
from mqvpn.dataplane.deadlines cimport deadline_of
from mqvpn.dataplane.ecn cimport ecn_silent
from mqvpn.dataplane.events cimport event_finish, event_new, event_token, owner_t
from mqvpn.dataplane.recovery cimport recovery_detect, recovery_give_up, recovery_oldest, recovery_pto
from mqvpn.dataplane.reinject cimport reinject_begin
from mqvpn.dataplane.resequence cimport spread_deadline, spread_timeout
from mqvpn.dataplane.state cimport *
from mqvpn.dataplane.table cimport conn_ready
from mqvpn.dataplane.tidy cimport conn_tidy

cdef double PROBE_MOST = 0.5        # seconds between probes of a suspect path
cdef double LATE = 0.005            # seconds after its deadline at which a wake-up counts as late
cdef uint32_t PROBES = 2            # RFC 9002, section 6.2.4: "up to two full-sized datagrams"


cdef inline void sooner(double* deadline, double at) noexcept nogil:
    if at != 0.0 and (deadline[0] == 0.0 or at < deadline[0]):
        deadline[0] = at


cdef double silent_at(const path_t* path) noexcept nogil:
    """When the path will have been silent for a PTO, or for another one after a doubt; 0.0: nothing is in flight."""
    cdef double pto = recovery_pto(&path.sent), at, news
    at = recovery_oldest(&path.sent) if path.sent.flying else 0.0
    if at == 0.0:
        return 0.0
    if path.doubted_at > path.sent.last_acked:
        return path.doubted_at + pto
    at += pto
    news = path.sent.last_acked + pto - path.sent.srtt
    return at if at > news else news


cdef bint all_silent(const conn_t* conn, const path_t* silent, double now) noexcept nogil:
    """No other path could take over: on each an ack is overdue, and nothing was heard there since the silence began."""
    cdef double began = recovery_oldest(&silent.sent)
    cdef const path_t* path
    cdef int i
    for i in range(PATHS):
        path = conn.paths[i]
        if path == NULL or path == silent or not path.usable or path.abandoned or path.suspect:
            continue
        if path.sent.flying == 0 or path.received_at > began:
            return False
        if recovery_oldest(&path.sent) + path.sent.srtt + path.sent.peer_delay > now:
            return False
    return True


cdef double conn_deadline(conn_t* conn, double now) noexcept nogil:
    """The next time at which conn_timeout() has something to do; 0.0: never."""
    cdef double deadline = 0.0
    cdef path_t* path
    cdef int i
    if conn.closed:
        return 0.0
    for i in range(PATHS):
        path = conn.paths[i]
        if path == NULL:
            continue
        sooner(&deadline, path.ack_at)
        if path.abandoned or not path.opened:
            continue
        sooner(&deadline, path.sent.loss_time)
        sooner(&deadline, path.probe_at if path.suspect else silent_at(path))
        if conn.keep_alive > 0.0 and path.validated:
            sooner(&deadline, path.sent.last_eliciting + conn.keep_alive)
        if (conn.queue.first != NULL or conn.again) and path.usable and path.sent.cc.pace > now:
            sooner(&deadline, path.sent.cc.pace)
    sooner(&deadline, conn.tidy_at)
    sooner(&deadline, spread_deadline(conn))
    if conn.queue.first != NULL:
        sooner(&deadline, conn.decide_at)
    return deadline


cdef void suspect(owner_t* due, path_t* path) noexcept nogil:
    """Nothing more is expected of the path until it answers."""
    cdef event_t* event
    path.suspect = True
    reinject_begin(due.conn, path)
    path.sent.pto_count = 0
    ecn_silent(&path.ecn, path.sent.next)
    if path.usable:
        event = event_new(due.core, EVENT_PATH_SUSPECT, due.conn, path.id, 0)
        if event != NULL:
            event_finish(due.core, event, 0)


cdef void probe(owner_t* due, path_t* path, double now) noexcept nogil:
    """Send what elicits an ack, control frames that are not acknowledged rather than PINGs: if their path is the only
    one they leave by it again, whatever its window."""
    cdef double wait = recovery_pto(&path.sent) * (<uint32_t>1 << path.sent.pto_count)
    if wait > PROBE_MOST:
        wait = PROBE_MOST
    elif path.sent.pto_count < 16:
        path.sent.pto_count += 1
    path.probes = PROBES
    if recovery_give_up(&path.sent, False, event_token, due):
        path.probes = path.beyond = 1
    path.probe_at = now + wait


cdef void path_timeout(owner_t* due, path_t* path, bint late, double now) noexcept nogil:
    cdef double at
    cdef bint doubt
    if path.sent.loss_time != 0.0 and path.sent.loss_time <= now:
        due.core.drops[DROP_DATAGRAM_LOST] -= path.sent.lost_datagrams
        recovery_detect(&path.sent, now, event_token, due)
        due.core.drops[DROP_DATAGRAM_LOST] += path.sent.lost_datagrams
    if not path.suspect:
        at = silent_at(path)
        if at != 0.0 and at <= now:
            doubt = path.doubted_at <= path.sent.last_acked and (late or all_silent(due.conn, path, now))
            if doubt:
                path.doubted_at = now
            else:
                suspect(due, path)
            probe(due, path, now)
    elif path.probe_at <= now:
        probe(due, path, now)
    if due.conn.keep_alive > 0.0 and path.validated and path.sent.last_eliciting + due.conn.keep_alive <= now:
        path.probes = 1
        path.sent.last_eliciting = now      # until the PING is on its way


cdef void conn_timeout(core_t* core, conn_t* conn, sink_t* sink, double now) noexcept nogil:
    """Do all that is due, and have the connection served."""
    cdef owner_t due
    cdef bint late = now - deadline_of(&core.deadlines, conn.id) > LATE
    cdef int i
    due.core, due.conn = core, conn
    for i in range(PATHS):
        if conn.paths[i] != NULL and conn.paths[i].opened and not conn.paths[i].abandoned:
            path_timeout(&due, conn.paths[i], late, now)
    spread_timeout(core, conn, sink, now)
    if conn.tidy_at != 0.0 and conn.tidy_at <= now:
        conn_tidy(core, conn, now)
    conn_ready(core, conn)


cdef void timeouts(core_t* core, sink_t* sink, double now, uint32_t place) noexcept nogil:
    """conn_timeout() for all that are due in the heap of deadlines, from that place of it downwards: what is not due
    has nothing below it that is. Deadlines stay until the connection is served."""
    if place >= core.deadlines.count or core.deadlines.heap[place].at > now:
        return
    conn_timeout(core, core.conns[core.deadlines.heap[place].number], sink, now)
    timeouts(core, sink, now, 2 * place + 1)
    timeouts(core, sink, now, 2 * place + 2)
