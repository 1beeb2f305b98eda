/* Groups by minute and source address. */

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

INLINE void source(struct frame *frame, u32 query, struct layers *l, u64 ordinal, u64 len) {
    u32 window = ordinal / 1000000000 / 60, family;
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
    if (UNLIKELY(!in_window(frame, query, window))) return;
    u64 hash = mix(mix(mix(control.seed, window | (u64)family << 32), a), b);
    u32 slot = hash % SLOTS + (control.generation & 1) * SLOTS;
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
    entry->ordinal = ordinal;
    entry->window = window;
    entry->family = family;
    entry->address[0] = a;
    entry->address[1] = b;
    entry->sum = len;
}
