/* SELECT count(*) AS n, sum(len) AS bytes FROM tcp WHERE destPort = 80 */
#include "wt.h"

SEC("xdp") int program(struct xdp_md *ctx) {
    struct frame *frame = begin(ctx);
    struct layers l;
    if (!frame) return VERDICT;
    void *data = (void *)(u64)ctx->data, *end = (void *)(u64)ctx->data_end;
    if (parse(data, end, &l)) frame->malformed++;
    if (l.tcp && l.tcp->dst == BE16(80)) add(frame, 0, end - data);
    return VERDICT;
}
