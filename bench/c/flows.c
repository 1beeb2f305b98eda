/* SELECT tb, srcIP, destIP, srcPort, destPort, count(*) AS n, sum(len) AS bytes FROM tcp
 * GROUP BY time/10 AS tb, srcIP, destIP, srcPort, destPort */
#define CLOCK
#include "wt.h"

struct flow {
    u64 tuples, ordinal;
    u64 key[6];
    u64 sum;
};

struct {
    UINT(type, PERCPU_ARRAY);
    UINT(max_entries, 2 * SLOTS);
    TYPE(key, u32);
    TYPE(value, struct flow);
} flows SEC(".maps");

SEC("xdp") int program(struct xdp_md *ctx) {
    struct frame *frame = begin(ctx);
    struct layers l;
    if (!frame) return VERDICT;
    void *data = (void *)(u64)ctx->data, *end = (void *)(u64)ctx->data_end;
    if (parse(data, end, &l)) frame->malformed++;
    if (!l.tcp) return VERDICT;
    u32 window = window_of(frame, 10);
    u64 k0 = window, k1, k2 = 0, k3, k4 = 0;
    u64 k5 = *(u32 *)l.tcp;
    if (LIKELY(l.ipv4 != 0)) {
        k0 |= 4ULL << 32;
        k1 = l.ipv4->src;
        k3 = l.ipv4->dst;
    } else if (l.ipv6) {
        k0 |= 6ULL << 32;
        k1 = l.ipv6->src[0] | (u64)l.ipv6->src[1] << 32;
        k2 = l.ipv6->src[2] | (u64)l.ipv6->src[3] << 32;
        k3 = l.ipv6->dst[0] | (u64)l.ipv6->dst[1] << 32;
        k4 = l.ipv6->dst[2] | (u64)l.ipv6->dst[3] << 32;
    } else {
        return VERDICT;
    }
    if (UNLIKELY(!in_window(frame, 0, window))) return VERDICT;
    volatile u64 *secret = control.secret;
    u64 hash = k0 * secret[0] + k1 * secret[1] + k2 * secret[2] + k3 * secret[3] + k4 * secret[4] + k5 * secret[5];
    u32 slot = slot_of(hash);
    struct flow *entry = map_lookup(&flows, &slot);
    if (!entry) return VERDICT;
    frame->query[0].matched++;
    if (LIKELY(entry->tuples != 0)) {
        if (LIKELY(entry->key[0] == k0 && entry->key[1] == k1 && entry->key[2] == k2 && entry->key[3] == k3 &&
                   entry->key[4] == k4 && entry->key[5] == k5)) {
            entry->tuples++;
            entry->sum += end - data;
            return VERDICT;
        }
        eject(frame, 0, entry, sizeof *entry, entry->tuples);
    }
    entry->tuples = 1;
    entry->ordinal = ORDINAL;
    entry->key[0] = k0;
    entry->key[1] = k1;
    entry->key[2] = k2;
    entry->key[3] = k3;
    entry->key[4] = k4;
    entry->key[5] = k5;
    entry->sum = end - data;
    return VERDICT;
}
