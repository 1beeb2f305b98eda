/* SELECT count(*) AS n FROM packet */
#include "wt.h"

SEC("xdp") int program(struct xdp_md *ctx) {
    struct frame *frame = begin(ctx);
    if (frame) add(frame, 0, 0);
    return VERDICT;
}
