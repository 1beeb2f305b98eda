/* SELECT tb, srcIP, count(*) AS n, sum(len) AS bytes FROM tcp WHERE destPort = 80 GROUP BY time/60 AS tb, srcIP */
#include "wt.h"
#include "sources.h"

SEC("xdp") int program(struct xdp_md *ctx) {
    struct frame *frame = begin(ctx);
    struct layers l;
    if (!frame) return XDP_PASS;
    void *data = (void *)(u64)ctx->data, *end = (void *)(u64)ctx->data_end;
    u64 ordinal = now();
    if (parse(data, end, &l)) frame->malformed++;
    if (l.tcp && l.tcp->dst == BE16(80)) source(frame, 0, &l, ordinal, end - data);
    return XDP_PASS;
}
