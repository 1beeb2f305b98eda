/* SELECT len FROM packet WHERE len > 1500 */
#include "wt.h"

struct record {
    u64 head, ordinal, len;
};

SEC("xdp") int program(struct xdp_md *ctx) {
    struct frame *frame = begin(ctx);
    if (!frame) return VERDICT;
    u64 len = (u64)ctx->data_end - ctx->data;
    if (UNLIKELY(len > 1500)) {
        struct record record = {0, now(), len};
        frame->query[0].matched++;
        if (ring_output(&ring, &record, sizeof record, 0)) frame->query[0].lost++;
    }
    return VERDICT;
}
