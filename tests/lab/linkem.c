/*
 * Link emulator: joins pairs of network interfaces by links of a given rate, delay, loss and queue.
 *
 * Stands in for netem, which many kernels lack.  Each end of a link is a TAP device in a network
 * namespace; this process carries the Ethernet frames across.  One direction of a link is a Pipe:
 *
 *   read from TAP -> blackhole, loss -> queue of the bottleneck (tail drop) -> rate -> delay -> write to TAP
 *
 *   linkem NAME:NAMESPACE/INTERFACE:NAMESPACE/INTERFACE[:KEY=VALUE,...] ...
 *
 *   rate=MBIT       bottleneck rate, 0 = no limit       loss=PERCENT       independent losses
 *   delay=MS        one way                             duplicate=PERCENT  delivered twice
 *   jitter=MS       standard deviation, order is kept   reorder=PERCENT    held back by another reorder_ms
 *   queue=MS        longest wait for the bottleneck     reorder_ms=MS      (5 for a start)
 *   blackhole=0|1   everything is lost, in silence      carrier=0|1        as if the cable were pulled
 *   mtu=BYTES       larger packets are lost, in silence; 0 = none
 *
 * A key holds for both directions; "ab." or "ba." before it means one.  Frames count with their
 * Ethernet header, as in netem.  While running, each line "NAME KEY=VALUE,..." on standard input
 * changes a link and is answered by "ok" or "error"; "stats" is answered by one line of counters per
 * direction and "ok".  End of standard input ends the program, and with it the interfaces.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <math.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_LINKS = 16,
    SLOTS = 16384,       /* packets held per direction; a power of two */
    ETHERNET_HEADER = 14,
    SLOT_SIZE = 1600,    /* Ethernet header and 1500 bytes, rounded up */
    TICK_NS = 400000,    /* while traffic flows the process wakes up once per tick, not once per packet */
    READS_PER_TURN = 256 /* so that a flood in one direction does not stop the other */
};

typedef struct {
    double rate, delay, jitter, queue, loss, duplicate, reorder, reorder_ms, blackhole, mtu;
} Shape;

typedef struct {
    int64_t due; /* when the packet leaves the link, ns */
    uint32_t slot, length;
} Held;

typedef struct {
    Shape shape;
    int from, to;            /* TAP descriptors */
    int64_t wire_free;       /* when the bottleneck has sent what was accepted so far */
    int64_t last_due;        /* keeps the order under jitter */
    Held ring[SLOTS];        /* sorted by due; head and tail run freely */
    uint32_t head, tail;
    uint32_t unused[SLOTS], unused_count;
    uint8_t *slots;
    uint64_t received, sent, bytes, lost, overflowed, swallowed, refused;
} Pipe;

typedef struct {
    char name[32];
    Pipe *pipes[2]; /* a to b, b to a */
} Link;

static Link links[MAX_LINKS];
static int link_count;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- chance ---- */

static bool chance(double percent)
{
    return percent > 0 && drand48() * 100 < percent;
}

static double normal(void)
{
    return sqrt(-2 * log(1 - drand48())) * cos(2 * M_PI * drand48());
}

/* ---- one direction ---- */

/* There are as many places in the ring as slots: whoever has a slot has a place. */
static void hold(Pipe *p, uint32_t slot, uint32_t length, int64_t due)
{
    uint32_t at = p->tail++;
    for (; at != p->head && p->ring[(at - 1) % SLOTS].due > due; at--)
        p->ring[at % SLOTS] = p->ring[(at - 1) % SLOTS];
    p->ring[at % SLOTS] = (Held){due, slot, length};
}

/* When a packet that arrived now leaves the link, or -1 when the queue is full.  `earliest` is when it
 * may have arrived: a sender that paces at exactly the rate loses nothing to our sleeping. */
static int64_t depart(Pipe *p, uint32_t length, int64_t earliest, int64_t now)
{
    const Shape *s = &p->shape;
    int64_t start = p->wire_free > earliest ? p->wire_free : earliest;
    if (s->rate > 0 && start - now > s->queue * 1e6)
        return -1;
    p->wire_free = start + (s->rate > 0 ? (int64_t)(length * 8e3 / s->rate) : 0);
    double delay = s->delay + (s->jitter > 0 ? s->jitter * normal() : 0);
    int64_t due = p->wire_free + (int64_t)(fmax(delay, 0) * 1e6);
    if (due < p->last_due)
        due = p->last_due;
    p->last_due = due;
    return chance(s->reorder) ? due + (int64_t)(s->reorder_ms * 1e6) : due;
}

static void accept_packet(Pipe *p, uint32_t slot, uint32_t length, int64_t earliest, int64_t now)
{
    int64_t due;
    if (p->shape.blackhole || (p->shape.mtu > 0 && length > p->shape.mtu + ETHERNET_HEADER))
        p->swallowed++;
    else if (chance(p->shape.loss))
        p->lost++;
    else if ((due = depart(p, length, earliest, now)) < 0)
        p->overflowed++;
    else {
        p->unused_count--;
        hold(p, slot, length, due);
        if (chance(p->shape.duplicate) && p->unused_count) {
            uint32_t copy = p->unused[--p->unused_count];
            memcpy(p->slots + copy * SLOT_SIZE, p->slots + slot * SLOT_SIZE, length);
            hold(p, copy, length, due);
        }
    }
}

static int drain(Pipe *p, int64_t earliest)
{
    static uint8_t spill[SLOT_SIZE];
    int count = 0;
    for (; count < READS_PER_TURN; count++) {
        uint32_t slot = p->unused_count ? p->unused[p->unused_count - 1] : 0;
        void *at = p->unused_count ? p->slots + slot * SLOT_SIZE : spill;
        ssize_t length = read(p->from, at, SLOT_SIZE);
        if (length <= 0)
            break;
        p->received++;
        if (p->unused_count)
            accept_packet(p, slot, length, earliest, now_ns());
        else
            p->overflowed++;
    }
    return count;
}

static void release(Pipe *p, int64_t now)
{
    for (; p->head != p->tail && p->ring[p->head % SLOTS].due <= now; p->head++) {
        Held *h = &p->ring[p->head % SLOTS];
        if (p->shape.blackhole)
            p->swallowed++;
        else if (write(p->to, p->slots + h->slot * SLOT_SIZE, h->length) < 0)
            p->refused++; /* the interface is down */
        else {
            p->sent++;
            p->bytes += h->length;
        }
        p->unused[p->unused_count++] = h->slot;
    }
}

/* ---- setting up and changing links ---- */

static bool set_parameter(Link *link, char *key, double value)
{
    bool only_ab = !strncmp(key, "ab.", 3), only_ba = !strncmp(key, "ba.", 3);
    key += only_ab || only_ba ? 3 : 0;
    for (int i = 0; i < 2; i++) {
        Pipe *p = link->pipes[i];
        struct { const char *key; double *field; } table[] = {
            {"rate", &p->shape.rate},   {"delay", &p->shape.delay},         {"jitter", &p->shape.jitter},
            {"queue", &p->shape.queue}, {"loss", &p->shape.loss},           {"duplicate", &p->shape.duplicate},
            {"reorder", &p->shape.reorder}, {"reorder_ms", &p->shape.reorder_ms}, {"blackhole", &p->shape.blackhole},
            {"mtu", &p->shape.mtu},
        };
        if (!strcmp(key, "carrier")) {
            int carrier = value != 0;
            ioctl(p->to, TUNSETCARRIER, &carrier);
            continue;
        }
        size_t row = 0;
        while (row < sizeof table / sizeof *table && strcmp(table[row].key, key))
            row++;
        if (row == sizeof table / sizeof *table || value < 0)
            return false;
        if (!(i == 0 ? only_ba : only_ab))
            *table[row].field = value;
    }
    return true;
}

static bool set_parameters(Link *link, char *text)
{
    char *rest = NULL;
    for (char *item = strtok_r(text, ",\n", &rest); item; item = strtok_r(NULL, ",\n", &rest)) {
        char *equals = strchr(item, '='), *end;
        if (!equals)
            return false;
        *equals = 0;
        double value = strtod(equals + 1, &end);
        if (*end || end == equals + 1 || !set_parameter(link, item, value))
            return false;
    }
    return true;
}

static int open_tap(const char *namespace, const char *interface)
{
    char path[128];
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), there, tap;
    snprintf(path, sizeof path, "/run/netns/%s", namespace);
    if ((there = open(path, O_RDONLY | O_CLOEXEC)) < 0 || setns(there, CLONE_NEWNET))
        fail(path);
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", interface);
    if ((tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)) < 0 || ioctl(tap, TUNSETIFF, &request))
        fail("/dev/net/tun");
    /* What waits between two of our ticks must fit the device's own queue. */
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    request.ifr_qlen = 4096;
    if (ioctl(control, SIOCSIFTXQLEN, &request) || setns(home, CLONE_NEWNET))
        fail(interface);
    close(control);
    close(there);
    close(home);
    return tap;
}

static Pipe *open_pipe(int from, int to)
{
    Pipe *p = calloc(1, sizeof *p);
    void *slots = mmap(NULL, SLOTS * SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!p || slots == MAP_FAILED)
        fail("memory");
    p->slots = slots;
    p->from = from;
    p->to = to;
    p->shape = (Shape){.queue = 100, .reorder_ms = 5};
    for (p->unused_count = 0; p->unused_count < SLOTS; p->unused_count++)
        p->unused[p->unused_count] = SLOTS - 1 - p->unused_count;
    return p;
}

static bool open_link(const char *text)
{
    Link *link = &links[link_count];
    char namespace[2][64], interface[2][IFNAMSIZ], shape[512] = "";
    if (link_count == MAX_LINKS || sscanf(text, "%31[^:]:%63[^/]/%15[^:]:%63[^/]/%15[^:]:%511s", link->name,
               namespace[0], interface[0], namespace[1], interface[1], shape) < 5)
        return false;
    int a = open_tap(namespace[0], interface[0]), b = open_tap(namespace[1], interface[1]);
    link->pipes[0] = open_pipe(a, b);
    link->pipes[1] = open_pipe(b, a);
    link_count++;
    return set_parameters(link, shape);
}

/* ---- control ---- */

static void print_counters(void)
{
    for (int i = 0; i < 2 * link_count; i++) {
        const Pipe *p = links[i / 2].pipes[i % 2];
        printf("%s.%s received=%lu sent=%lu bytes=%lu lost=%lu overflowed=%lu swallowed=%lu refused=%lu held=%u\n",
               links[i / 2].name, i % 2 ? "ba" : "ab", p->received, p->sent, p->bytes, p->lost, p->overflowed,
               p->swallowed, p->refused, p->tail - p->head);
    }
}

static bool obey(char *line)
{
    if (!strcmp(line, "stats\n")) {
        print_counters();
        return true;
    }
    char *space = strchr(line, ' ');
    if (!space)
        return false;
    *space = 0;
    for (int i = 0; i < link_count; i++)
        if (!strcmp(links[i].name, line))
            return set_parameters(&links[i], space + 1);
    return false;
}

/* One line at most per turn: whoever steers the links waits for each answer.  False at the end of input. */
static bool handle_control(const struct pollfd *input)
{
    char line[512];
    if (!input->revents)
        return true;
    if (!fgets(line, sizeof line, stdin))
        return false;
    puts(obey(line) ? "ok" : "error");
    fflush(stdout);
    return true;
}

/* ---- the loop ---- */

/* Reads and writes what is due; tells whether anything was read and when the next packet is due. */
static bool turn(int64_t earliest, int64_t *next)
{
    int got = 0;
    *next = INT64_MAX;
    for (int i = 0; i < 2 * link_count; i++) {
        Pipe *p = links[i / 2].pipes[i % 2];
        got += drain(p, earliest);
        release(p, now_ns());
        if (p->head != p->tail && p->ring[p->head % SLOTS].due < *next)
            *next = p->ring[p->head % SLOTS].due;
    }
    return got > 0;
}

int main(int argc, char **argv)
{
    struct pollfd fds[2 * MAX_LINKS + 1] = {{.fd = STDIN_FILENO, .events = POLLIN}};
    for (int i = 1; i < argc; i++)
        if (!open_link(argv[i])) {
            fprintf(stderr, "linkem: not a link: %s\n", argv[i]);
            return 2;
        }
    for (int i = 0; i < 2 * link_count; i++)
        fds[i + 1] = (struct pollfd){.fd = links[i / 2].pipes[i % 2]->from, .events = POLLIN};
    srand48(1); /* the same losses on every run with the same packets */
    setvbuf(stdin, NULL, _IONBF, 0);
    prctl(PR_SET_TIMERSLACK, 1000);
    puts("ok");
    fflush(stdout);
    int64_t now = now_ns(), earliest, next;
    do {
        earliest = now;
        now = now_ns();
        bool busy = turn(earliest, &next);
        int64_t left = next - now_ns();
        if (busy || left <= TICK_NS) {
            nanosleep(&(struct timespec){.tv_nsec = TICK_NS}, NULL);
            poll(fds, 1, 0);
        } else {
            struct timespec wait = {left / 1000000000, left % 1000000000};
            ppoll(fds, 2 * link_count + 1, next == INT64_MAX ? NULL : &wait, NULL);
            now = now_ns();
        }
    } while (handle_control(&fds[0]));
    return 0;
}
