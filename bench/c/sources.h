/* Groups by window of SECONDS, if there are any, and source address. */

struct by_source {
    u64 tuples, ordinal;
    u32 window, family;
    u64 address[2];
    u64 sum;
};

struct {
    UINT(type, PERCPU_ARRAY);
    UINT(max_entries, 2 * SLOTS);
    TYPE(key, u32);
    TYPE(value, struct by_source);
} sources SEC(".maps");

INLINE void source(struct frame *frame, u32 query, struct layers *l, u64 len) {
#ifdef SECONDS
    u32 window = window_of(frame, SECONDS);
#else
    u32 window = 0;
#endif
    u32 family;
    u64 a, b;
    if (LIKELY(l->ipv4 != 0)) {
        family = 4;
        a = l->ipv4->src;
        b = 0;
    } else if (l->ipv6) {
        family = 6;
        a = l->ipv6->src[0] | (u64)l->ipv6->src[1] << 32;
        b = l->ipv6->src[2] | (u64)l->ipv6->src[3] << 32;
    } else {
        return;
    }
#ifdef SECONDS
    if (UNLIKELY(!in_window(frame, query, window))) return;
#endif
    u64 hash = (window | (u64)family << 32) * control.secret[0] + a * control.secret[1] + b * control.secret[2];
    u32 slot = slot_of(hash);
    struct by_source *entry = map_lookup(&sources, &slot);
    if (!entry) return;
    frame->query[query].matched++;
    if (LIKELY(entry->tuples != 0)) {
        if (LIKELY(entry->window == window && entry->family == family && entry->address[0] == a && entry->address[1] == b)) {
            entry->tuples++;
            entry->sum += len;
            return;
        }
        eject(frame, query, entry, sizeof *entry, entry->tuples);
    }
    entry->tuples = 1;
    entry->ordinal = ORDINAL;
    entry->window = window;
    entry->family = family;
    entry->address[0] = a;
    entry->address[1] = b;
    entry->sum = len;
}
