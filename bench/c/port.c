/* SELECT count(*) AS n, sum(len) AS bytes FROM tcp WHERE destPort = 80 */
#include "wt.h"

SEC("xdp") int program(struct xdp_md *ctx) {
    struct frame *frame = begin(ctx);
    struct layers l;
    if (!frame) return XDP_PASS;
    void *data = (void *)(u64)ctx->data, *end = (void *)(u64)ctx->data_end;
    u64 ordinal = frame->packets;
    if (parse(data, end, &l)) frame->malformed++;
    if (l.tcp && l.tcp->dst == BE16(80)) add(frame, 0, ordinal, end - data);
    return XDP_PASS;
}
