/* What a careful programmer writes by hand where `wiretable` makes a program of a query: the same counters, the same tables, the same
 * order of work. Headers are Ethernet with up to two VLAN tags, IPv4 with options, IPv6 with up to four extension headers, TCP and UDP. Tunnels
 * are not looked into: the packets that are measured have none. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

struct xdp_md {
    u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

/* What becomes of packets. */
#ifndef VERDICT
#define VERDICT 2
#endif
#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define BE16(x) __builtin_bswap16(x)

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static u64 (*const ktime_ns)(void) = (void *)5;
static u64 (*const jiffies)(void) = (void *)118;
static long (*const ring_output)(void *ring, void *data, u64 bytes, u64 flags) = (void *)130;

#define UINT(name, value) int (*name)[value]
#define TYPE(name, value) value *name
#define PERCPU_ARRAY 6
#define RINGBUF 27

char program_license[] SEC("license") = "GPL";

/* User space writes it: which half of the tables is filled, secrets of hashes, the clock's offset, ns from tick to tick. */
struct control {
    u64 turn, secret[6], clock_offset_ns, tick_ns;
};
volatile struct control control SEC(".data") = {.tick_ns = 10000000};

#define TOO_LONG 16382

struct query {
    u64 matched, absent, failed, late, ejected, lost;
};

/* One group, of a query without keys. */
struct total {
    u64 tuples, ordinal, sum;
};

/* A window of seconds: its number, and until which tick and in which turn it holds. */
struct window {
    u64 number, until, turn;
};

#ifndef QUERIES
#define QUERIES 1
#endif

/* Of each CPU. */
struct frame {
    u64 packets, malformed, oversize, bytes;
    struct query query[QUERIES];
    struct total total[QUERIES][2];
    u64 bound[QUERIES];
    struct window window;
};

struct {
    UINT(type, PERCPU_ARRAY);
    UINT(max_entries, 1);
    TYPE(key, u32);
    TYPE(value, struct frame);
} frames SEC(".maps");

struct {
    UINT(type, RINGBUF);
    UINT(max_entries, 1 << 22);
} ring SEC(".maps");

struct eth {
    u8 dst[6], src[6];
    u16 type;
} __attribute__((packed));

struct ipv4 {
    u8 version_ihl, tos;
    u16 len, id, fragment;
    u8 ttl, protocol;
    u16 checksum;
    u32 src, dst;
};

struct ipv6 {
    u32 head;
    u16 len;
    u8 protocol, hops;
    u32 src[4], dst[4];
};

struct tcp {
    u16 src, dst;
    u32 seq, ack;
    u8 offset, flags;
    u16 window, checksum, urgent;
};

struct udp {
    u16 src, dst, len, checksum;
};

/* Headers that are there. */
struct layers {
    struct ipv4 *ipv4;
    struct ipv6 *ipv6;
    struct tcp *tcp;
    struct udp *udp;
};

INLINE int parse(void *data, void *end, struct layers *l) {
    struct eth *eth = data;
    u16 type;
    u8 protocol;
    void *next = eth + 1;
    l->ipv4 = 0;
    l->ipv6 = 0;
    l->tcp = 0;
    l->udp = 0;
    if (UNLIKELY(next > end)) return -1;
    type = eth->type;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        if (UNLIKELY(type == BE16(0x8100) || type == BE16(0x88a8))) {
            if (next + 4 > end) return -1;
            type = *(u16 *)(next + 2);
            next += 4;
        }
    }
    if (LIKELY(type == BE16(0x0800))) {
        struct ipv4 *ip = next;
        u32 bytes;
        if (UNLIKELY(next + sizeof *ip > end)) return -1;
        bytes = (ip->version_ihl & 15) * 4;
        if (UNLIKELY(ip->version_ihl >> 4 != 4 || bytes < 20)) return -1;
        if (UNLIKELY(next + bytes > end)) return -1;
        l->ipv4 = ip;
        protocol = ip->protocol;
        if (UNLIKELY(ip->fragment & BE16(0x1fff))) return 0;
        next += bytes;
    } else if (type == BE16(0x86dd)) {
        struct ipv6 *ip = next;
        if (UNLIKELY(next + sizeof *ip > end)) return -1;
        if (UNLIKELY((*(u8 *)next >> 4) != 6)) return -1;
        l->ipv6 = ip;
        protocol = ip->protocol;
        next = ip + 1;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (UNLIKELY(protocol == 0 || protocol == 43 || protocol == 60)) {
                if (next + 8 > end) return -1;
                protocol = *(u8 *)next;
                next += 8 + *(u8 *)(next + 1) * 8;
            }
        }
    } else {
        return 0;
    }
    if (LIKELY(protocol == 6)) {
        struct tcp *tcp = next;
        u32 bytes;
        if (UNLIKELY(next + sizeof *tcp > end)) return -1;
        bytes = (tcp->offset >> 4) * 4;
        if (UNLIKELY(bytes < 20 || next + bytes > end)) return -1;
        l->tcp = tcp;
    } else if (protocol == 17) {
        struct udp *udp = next;
        if (UNLIKELY(next + sizeof *udp > end)) return -1;
        l->udp = udp;
    }
    return 0;
}

/* The frame of this CPU, with the packet counted; none for packets that programs cannot look at. */
INLINE struct frame *begin(struct xdp_md *ctx) {
    u32 zero = 0;
    u64 bytes = (u64)ctx->data_end - ctx->data;
    struct frame *frame = map_lookup(&frames, &zero);
    if (!frame) return 0;
    frame->packets++;
    frame->bytes += bytes;
    if (UNLIKELY(bytes > TOO_LONG)) {
        frame->oversize++;
        return 0;
    }
    return frame;
}

#define NS_PER_S 1000000000

INLINE u64 now(void) {
    return ktime_ns() + control.clock_offset_ns;
}

/* What groups are put in order by: the time of the first tuple, or the number of its packet in a program that needs no clock. */
#ifdef CLOCK
#define ORDINAL now()
#else
#define ORDINAL frame->packets
#endif

/* A tuple of a query without keys. */
INLINE void add(struct frame *frame, u32 query, u64 sum) {
    struct total *total = &frame->total[query][control.turn & 1];
    frame->query[query].matched++;
    if (UNLIKELY(total->tuples == 0)) total->ordinal = ORDINAL;
    total->tuples++;
    total->sum += sum;
}

#define TICKS_BEHIND 8

/* The number of the window that the packet is in. The clock is read near its end, once in a second and once in a turn. */
INLINE u64 window_of(struct frame *frame, u64 seconds) {
    struct window *window = &frame->window;
    u64 tick = jiffies();
    if (UNLIKELY(tick >= window->until || control.turn != window->turn)) {
        u64 now_ns, rest;
        window->turn = control.turn;
        now_ns = now();
        window->number = now_ns / NS_PER_S / seconds;
        rest = (window->number + 1) * seconds * NS_PER_S - now_ns;
        if (rest > NS_PER_S) rest = NS_PER_S;
        rest /= control.tick_ns;
        window->until = tick + (rest > TICKS_BEHIND ? rest - TICKS_BEHIND : 0);
    }
    return window->number;
}

/* Late tuples are counted, later windows move the bound. */
INLINE int in_window(struct frame *frame, u32 query, u64 window) {
    if (window < frame->bound[query]) {
        frame->query[query].late++;
        return 0;
    }
    frame->bound[query] = window;
    return 1;
}

#define SLOTS 4096

/* The slot of a sum of words times secrets, in the half that is filled. */
INLINE u32 slot_of(u64 hash) {
    hash = (hash ^ hash >> 32) * 0x9e3779b97f4a7c15ULL;
    return hash / (~0ULL / SLOTS + 1) + (control.turn & 1) * SLOTS;
}

/* A group leaves for another one: through the ring, or its tuples are lost. */
INLINE void eject(struct frame *frame, u32 query, void *entry, u64 bytes, u64 tuples) {
    frame->query[query].ejected++;
    if (ring_output(&ring, entry, bytes, 0)) frame->query[query].lost += tuples;
}
