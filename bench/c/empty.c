#include "wt.h"

SEC("xdp") int program(struct xdp_md *ctx) {
    return VERDICT;
}
