/*
 * How much TCP a tunnel can carry on this machine at most: one without a transport protocol.
 *
 *   TUN (virtio-net header, TSO) <-> AES-128-GCM packets of QUIC's shape <-> UDP (GSO and GRO)
 *
 * The shape of the packets, the ciphers, header protection by the burst and the offloads are as in the tunnel;
 * acknowledgements, loss recovery, congestion control and scheduling are left out.  The bench divides the tunnel's
 * throughput by this one's, measured in the same run, because absolute figures do not travel from machine to machine.
 *
 * What else differs: this one encrypts through EVP, five calls a packet, where the tunnel calls the provider's own
 * functions; it is compiled for this very processor (-march=native), the tunnel for any of its kind; its TUN device
 * keeps the kernel's queue length and its socket buffers are 4 MB, where the tunnel sets 1000 packets and 8 MB; and
 * its one socket is connected, where the tunnel tells the kernel both addresses of what it sends.  With small packets
 * and in latency the tunnel may be the better one.
 *
 *   ceiling TUN LOCAL_IPV4 REMOTE_IPV4 PORT
 *
 * A packet is: first byte, connection ID, packet number | DATAGRAM frame type, stream, context | IP packet | tag.
 * Keys are constants: this is a measuring instrument, it protects nothing.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#define UDP_GRO 104
#endif

enum {
    HEADER = 13,               /* first byte 1, connection ID 8, packet number 4 */
    NUMBER_AT = 9,
    FRAME = 3,                 /* DATAGRAM 0x30, quarter stream ID 0, Context ID 0 */
    TAG = 16,
    OVERHEAD = HEADER + FRAME + TAG,
    MAX_SEGMENTS = 64,         /* of one UDP_SEGMENT send */
    MAX_UDP = 65000,
    READS = 32,                /* TUN reads, and ... */
    RECEIVES = 8,              /* ... 64 KB receives per turn */
    BUFFER = 65536 + 2048
};

typedef struct iphdr Ip;
typedef struct tcphdr Tcp;

static int tun, udp;
static const uint8_t iv[12] = "ceiling iv";
static EVP_CIPHER_CTX *sealing, *opening, *masking;

static void require(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

/* ---- checksums (RFC 1071); the compiler vectorises the inner loop ---- */

static uint64_t sum(const uint8_t *p, size_t n, uint64_t s)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint32_t word;
        memcpy(&word, p + i, 4);
        s += word;
    }
    for (; i < n; i++)
        s += i % 2 ? (uint64_t)p[i] << 8 : p[i];
    return s;
}

static uint16_t fold(uint64_t s)
{
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return s;
}

static uint64_t pseudo_header(const Ip *ip, int length)
{
    return (uint64_t)ip->saddr + ip->daddr + htons(ip->protocol) + htons(length);
}

static void finish_ip(Ip *ip, int length)
{
    ip->tot_len = htons(length);
    ip->check = 0;
    ip->check = ~fold(sum((uint8_t *)ip, ip->ihl * 4, 0));
}

/* ---- packet protection: AEAD per packet, header protection per burst (RFC 9001, section 5) ---- */

static void make_nonce(uint8_t nonce[12], uint32_t number)
{
    memcpy(nonce, iv, 12);
    for (int i = 0; i < 4; i++)
        nonce[11 - i] ^= number >> 8 * i;
}

static void seal(uint8_t *packet, int length, uint32_t number)
{
    uint8_t nonce[12];
    int n;
    make_nonce(nonce, number);
    EVP_EncryptInit_ex(sealing, NULL, NULL, NULL, nonce);
    EVP_EncryptUpdate(sealing, NULL, &n, packet, HEADER);
    EVP_EncryptUpdate(sealing, packet + HEADER, &n, packet + HEADER, length - HEADER - TAG);
    EVP_EncryptFinal_ex(sealing, packet, &n);
    EVP_CIPHER_CTX_ctrl(sealing, EVP_CTRL_AEAD_GET_TAG, TAG, packet + length - TAG);
}

static bool open_packet(uint8_t *packet, int length)
{
    uint8_t nonce[12];
    uint32_t number;
    int n;
    memcpy(&number, packet + NUMBER_AT, 4);
    make_nonce(nonce, ntohl(number));
    EVP_DecryptInit_ex(opening, NULL, NULL, NULL, nonce);
    EVP_DecryptUpdate(opening, NULL, &n, packet, HEADER);
    EVP_DecryptUpdate(opening, packet + HEADER, &n, packet + HEADER, length - HEADER - TAG);
    EVP_CIPHER_CTX_ctrl(opening, EVP_CTRL_AEAD_SET_TAG, TAG, packet + length - TAG);
    return EVP_DecryptFinal_ex(opening, packet, &n) > 0;
}

/* XORs the masks of all packets of a burst; its own inverse. */
static void protect_headers(uint8_t *burst, int segment, int count)
{
    static uint8_t samples[128 * 16], masks[128 * 16];
    int n;
    for (int i = 0; i < count; i++)
        memcpy(samples + 16 * i, burst + i * segment + HEADER, 16);
    EVP_EncryptUpdate(masking, masks, &n, samples, 16 * count);
    for (int i = 0; i < count; i++) {
        burst[i * segment] ^= masks[16 * i] & 0x1f;
        for (int k = 0; k < 4; k++)
            burst[i * segment + NUMBER_AT + k] ^= masks[16 * i + 1 + k];
    }
}

/* ---- out: TUN to UDP ---- */

static struct {
    uint8_t bytes[BUFFER];
    int length, segment, count; /* segment: the size of all packets but the last */
} burst;

static void send_burst(void)
{
    if (!burst.count)
        return;
    protect_headers(burst.bytes, burst.segment, burst.count);
    union { char bytes[CMSG_SPACE(2)]; struct cmsghdr align; } control = {0};
    struct iovec part = {burst.bytes, burst.length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (burst.count > 1) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        *c = (struct cmsghdr){.cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(2)};
        memcpy(CMSG_DATA(c), &(uint16_t){burst.segment}, 2);
    }
    (void)!sendmsg(udp, &message, 0); /* the socket blocks: when it is full, this waits; what fails is lost */
    burst.length = burst.count = 0;
}

/* Where the next IP packet of n bytes is to be written. */
static uint8_t *reserve(int n)
{
    int length = n + OVERHEAD;
    if (burst.count && (length > burst.segment || burst.count == MAX_SEGMENTS || burst.length + length > MAX_UDP))
        send_burst();
    if (!burst.count)
        burst.segment = length;
    return burst.bytes + burst.length + HEADER + FRAME;
}

static void commit(int n)
{
    static uint32_t next_number;
    uint8_t *packet = burst.bytes + burst.length;
    int length = n + OVERHEAD;
    uint32_t number = next_number++, wire = htonl(number);
    memcpy(packet, "\x43\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1", NUMBER_AT);
    memcpy(packet + NUMBER_AT, &wire, 4);
    memcpy(packet + HEADER, "\x30\0\0", FRAME);
    seal(packet, length, number);
    burst.length += length;
    burst.count++;
    if (length < burst.segment) /* a short packet ends a GSO burst */
        send_burst();
}

static void split_tcp(const uint8_t *packet, int length, int gso_size)
{
    int ip_length = ((const Ip *)packet)->ihl * 4;
    const Tcp *tcp = (const void *)(packet + ip_length);
    int tcp_length = tcp->doff * 4, headers = ip_length + tcp_length, payload = length - headers;
    uint16_t id = ntohs(((const Ip *)packet)->id);
    for (int at = 0; at < payload; at += gso_size, id++) {
        int piece = payload - at < gso_size ? payload - at : gso_size;
        uint8_t *out = reserve(headers + piece);
        memcpy(out, packet, headers);
        memcpy(out + headers, packet + headers + at, piece);
        Ip *ip = (void *)out;
        Tcp *t = (void *)(out + ip_length);
        ip->id = htons(id);
        finish_ip(ip, headers + piece);
        t->seq = htonl(ntohl(tcp->seq) + at);
        if (at + piece < payload)
            t->fin = t->psh = 0;
        t->check = 0;
        t->check = ~fold(sum((uint8_t *)t, tcp_length + piece, pseudo_header(ip, tcp_length + piece)));
        commit(headers + piece);
    }
}

static void read_tun(void)
{
    static uint8_t buffer[BUFFER];
    struct virtio_net_hdr facts;
    uint8_t *packet = buffer + sizeof facts;
    for (int i = 0; i < READS; i++) {
        int length = read(tun, buffer, sizeof buffer) - sizeof facts;
        if (length < (int)sizeof(Ip))
            break;
        memcpy(&facts, buffer, sizeof facts);
        if (facts.gso_type == VIRTIO_NET_HDR_GSO_TCPV4)
            split_tcp(packet, length, facts.gso_size);
        else if (facts.gso_type == VIRTIO_NET_HDR_GSO_NONE) {
            if (facts.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
                uint16_t check = ~fold(sum(packet + facts.csum_start, length - facts.csum_start, 0));
                memcpy(packet + facts.csum_start + facts.csum_offset, &check, 2);
            }
            memcpy(reserve(length), packet, length);
            commit(length);
        }
    }
    send_burst();
}

/* ---- in: UDP to TUN, neighbouring segments of one TCP flow as one super packet ---- */

static struct {
    uint8_t header[120];
    struct iovec parts[MAX_SEGMENTS + 4]; /* virtio header, header, payloads */
    int count, ip_length, header_length, payload, size;
    uint32_t next_sequence;
    bool complete;
} merged;

static void write_merged(void)
{
    struct virtio_net_hdr facts = {0};
    Ip *ip = (void *)merged.header;
    Tcp *tcp = (void *)(merged.header + merged.ip_length);
    if (!merged.count)
        return;
    if (merged.count > 1) {
        int length = merged.header_length + merged.payload;
        finish_ip(ip, length);
        tcp->check = fold(pseudo_header(ip, length - merged.ip_length));
        facts = (struct virtio_net_hdr){
            .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = merged.size,
            .hdr_len = merged.header_length, .csum_start = merged.ip_length, .csum_offset = 16};
    }
    merged.parts[0] = (struct iovec){&facts, sizeof facts};
    merged.parts[1] = (struct iovec){merged.header, merged.header_length};
    (void)!writev(tun, merged.parts, merged.count + 2);
    merged.count = 0;
}

static bool continues(const Ip *ip, const Tcp *tcp, int header_length, int payload)
{
    const Ip *first_ip = (void *)merged.header;
    const Tcp *first = (void *)(merged.header + merged.ip_length);
    return merged.count && !merged.complete && merged.count < MAX_SEGMENTS && header_length == merged.header_length &&
           payload <= merged.size && merged.header_length + merged.payload + payload < 65500 &&
           ip->saddr == first_ip->saddr && ip->daddr == first_ip->daddr && tcp->source == first->source &&
           tcp->dest == first->dest && tcp->ack_seq == first->ack_seq && ntohl(tcp->seq) == merged.next_sequence &&
           !memcmp(tcp + 1, first + 1, tcp->doff * 4 - sizeof *tcp);
}

/* Only plain data segments with a right checksum are merged: the kernel does not check a merged one again. */
static bool can_merge(const Ip *ip, const Tcp *tcp, int length)
{
    int ip_length = ip->ihl * 4;
    return ip->version == 4 && ip->protocol == IPPROTO_TCP && !(ip->frag_off & htons(0x3fff)) && tcp->ack &&
           !(tcp->syn | tcp->fin | tcp->rst | tcp->urg) && length > ip_length + tcp->doff * 4 &&
           fold(sum((uint8_t *)tcp, length - ip_length, pseudo_header(ip, length - ip_length))) == 0xffff;
}

static void deliver(uint8_t *packet, int length)
{
    const Ip *ip = (void *)packet;
    const Tcp *tcp = (void *)(packet + ip->ihl * 4);
    if (!can_merge(ip, tcp, length)) {
        static const struct virtio_net_hdr none;
        struct iovec parts[2] = {{(void *)&none, sizeof none}, {packet, length}};
        write_merged();
        (void)!writev(tun, parts, 2);
        return;
    }
    int header_length = ip->ihl * 4 + tcp->doff * 4, payload = length - header_length;
    if (!continues(ip, tcp, header_length, payload)) {
        write_merged();
        memcpy(merged.header, packet, header_length);
        merged.ip_length = ip->ihl * 4;
        merged.header_length = header_length;
        merged.size = payload;
        merged.payload = 0;
    }
    merged.parts[2 + merged.count++] = (struct iovec){packet + header_length, payload};
    merged.payload += payload;
    merged.next_sequence = ntohl(tcp->seq) + payload;
    merged.complete = tcp->psh || payload < merged.size;
    if (tcp->psh)
        ((Tcp *)(merged.header + merged.ip_length))->psh = 1;
}

static void open_burst(uint8_t *bytes, int length, int segment)
{
    int count = (length + segment - 1) / segment;
    if (length - (count - 1) * segment < HEADER + 16)
        count--;
    protect_headers(bytes, segment, count);
    for (int i = 0; i < count; i++) {
        int n = i == count - 1 && length % segment ? length % segment : segment;
        uint8_t *packet = bytes + i * segment;
        if (n > OVERHEAD + (int)sizeof(Ip) && open_packet(packet, n) && packet[HEADER] == 0x30)
            deliver(packet + HEADER + FRAME, n - OVERHEAD);
    }
}

static void read_udp(void)
{
    static uint8_t buffers[RECEIVES][BUFFER];
    struct mmsghdr messages[RECEIVES] = {0};
    struct iovec parts[RECEIVES];
    union { char bytes[CMSG_SPACE(4)]; struct cmsghdr align; } control[RECEIVES];
    for (int i = 0; i < RECEIVES; i++) {
        parts[i] = (struct iovec){buffers[i], 65536};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1,
                                              .msg_control = &control[i], .msg_controllen = sizeof control[i]};
    }
    int count = recvmmsg(udp, messages, RECEIVES, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++) {
        int length = messages[i].msg_len, segment = length;
        struct cmsghdr *c = CMSG_FIRSTHDR(&messages[i].msg_hdr);
        if (c && c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO)
            memcpy(&segment, CMSG_DATA(c), sizeof segment);
        if (length)
            open_burst(buffers[i], length, segment);
    }
    write_merged();
}

/* ---- setting up ---- */

static void open_tun(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    require(tun >= 0 && !ioctl(tun, TUNSETIFF, &request), "TUNSETIFF");
    require(!ioctl(tun, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4), "TUNSETOFFLOAD");
}

static void open_udp(const char *local, const char *remote, int port)
{
    int size = 4 << 20, on = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)}, there = here;
    require(inet_pton(AF_INET, local, &here.sin_addr) && inet_pton(AF_INET, remote, &there.sin_addr), "address");
    udp = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(udp, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(udp, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    require(!bind(udp, (void *)&here, sizeof here) && !connect(udp, (void *)&there, sizeof there), "bind");
    require(!setsockopt(udp, SOL_UDP, UDP_GRO, &on, sizeof on), "UDP_GRO");
}

static void make_keys(void)
{
    static const uint8_t key[16] = "ceiling AEAD key", mask_key[16] = "ceiling mask key";
    EVP_CIPHER *gcm = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL), *ecb = EVP_CIPHER_fetch(NULL, "AES-128-ECB", NULL);
    sealing = EVP_CIPHER_CTX_new();
    opening = EVP_CIPHER_CTX_new();
    masking = EVP_CIPHER_CTX_new();
    require(EVP_EncryptInit_ex(sealing, gcm, NULL, key, iv) && EVP_DecryptInit_ex(opening, gcm, NULL, key, iv) &&
                EVP_EncryptInit_ex(masking, ecb, NULL, mask_key, NULL), "keys");
    EVP_CIPHER_CTX_set_padding(masking, 0);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: ceiling TUN LOCAL_IPV4 REMOTE_IPV4 PORT\n");
        return 2;
    }
    make_keys();
    open_tun(argv[1]);
    open_udp(argv[2], argv[3], atoi(argv[4]));
    struct pollfd fds[2] = {{.fd = tun, .events = POLLIN}, {.fd = udp, .events = POLLIN}};
    while (poll(fds, 2, -1) >= 0) {
        if (fds[0].revents)
            read_tun();
        if (fds[1].revents)
            read_udp();
    }
    return 1;
}
