/* Ten queries in one program: ten.gsql. */
#define QUERIES 10
#define CLOCK
#define SECONDS 60
#include "wt.h"
#include "sources.h"

SEC("xdp") int program(struct xdp_md *ctx) {
    struct frame *frame = begin(ctx);
    struct layers l;
    if (!frame) return VERDICT;
    void *data = (void *)(u64)ctx->data, *end = (void *)(u64)ctx->data_end;
    u64 len = end - data;
    if (parse(data, end, &l)) frame->malformed++;
    add(frame, 0, len);
    if (UNLIKELY(len > 1500)) add(frame, 1, 0);
    if (l.ipv4 && l.ipv4->ttl < 5) add(frame, 2, 0);
    if (l.ipv4 && l.ipv4->protocol == 1) add(frame, 3, 0);
    if (l.tcp) {
        u16 port = l.tcp->dst;
        u8 flags = l.tcp->flags;
        if (port == BE16(80)) add(frame, 4, 0);
        if (port == BE16(443)) add(frame, 5, 0);
        if (port == BE16(22) || port == BE16(23) || port == BE16(25)) add(frame, 6, 0);
        if ((flags & 0x12) == 0x02) add(frame, 7, 0);
        if (port == BE16(80)) source(frame, 8, &l, len);
    }
    if (l.udp && l.udp->dst == BE16(53)) add(frame, 9, 0);
    return VERDICT;
}
