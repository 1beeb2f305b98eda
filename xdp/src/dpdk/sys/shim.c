// What cannot be said of DPDK from Rust: inline functions, macros, and structures whose layout changes from release to release.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>
#include <rte_mbuf_pool_ops.h>

enum { BURST = 32 };

struct wt_packet { uint64_t stamp; uint32_t at, captured, len; };
struct wt_stats { uint64_t received, missed, errors, no_buffer; };
typedef void wt_say(const char *text, size_t len);

static wt_say *say, *overhear;

static ssize_t write_log(void *cookie, const char *text, size_t len)
{
	(void)cookie;
	say(text, len);
	return len;
}

// Standard error of the process, while libraries of drivers write to it; other threads may do so meanwhile.
struct aside { int err, said; };

static struct aside aside(void)
{
	struct aside a = { dup(STDERR_FILENO), memfd_create("said", MFD_CLOEXEC) };
	fflush(stderr);
	if (a.err >= 0 && a.said >= 0)
		dup2(a.said, STDERR_FILENO);
	return a;
}

// Gives it back, and what was written to `overhear`.
static void back(struct aside a)
{
	fflush(stderr);
	dup2(a.err, STDERR_FILENO);
	off_t len = lseek(a.said, 0, SEEK_END);
	void *text = len > 0 ? mmap(NULL, len, PROT_READ, MAP_PRIVATE, a.said, 0) : MAP_FAILED;
	if (text != MAP_FAILED) {
		overhear(text, len);
		munmap(text, len);
	}
	close(a.err);
	close(a.said);
}

// Starts the EAL, which logs to `log_to`. When arguments are wrong it prints its usage to standard output, which is our caller's.
int wt_dpdk_init(int argc, char **argv, wt_say *log_to, wt_say *overhear_to)
{
	FILE *log = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = write_log });
	int out = dup(STDOUT_FILENO), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (log == NULL || out < 0 || nowhere < 0)
		return -errno;
	say = log_to;
	overhear = overhear_to;
	setvbuf(log, NULL, _IOLBF, BUFSIZ);
	rte_openlog_stream(log);
	fflush(stdout);
	dup2(nowhere, STDOUT_FILENO);
	struct aside a = aside();
	int failed = rte_eal_init(argc, argv) < 0 ? -rte_errno : 0;
	back(a);
	fflush(stdout);
	dup2(out, STDOUT_FILENO);
	close(out);
	close(nowhere);
	return failed;
}

// Finds the port of a device, and makes a virtual device first.
int wt_dpdk_probe(const char *device, const char *name, uint16_t *port)
{
	struct aside a = aside();
	int failed = rte_dev_probe(device);
	back(a);
	if (failed != 0 && failed != -EEXIST)
		return failed;
	return rte_eth_dev_get_port_by_name(name, port);
}

// Buffers side by side, if they are for no card: net_af_xdp takes for granted that none of them keeps clear of the border of a page.
static struct rte_mempool *pool_of(const char *name, unsigned int buffers, uint16_t room, int socket, int is_virtual)
{
	struct rte_pktmbuf_pool_private about = { .mbuf_data_room_size = room };
	struct rte_mempool *pool = rte_mempool_create_empty(name, buffers, sizeof(struct rte_mbuf) + room, 0, sizeof(about), socket,
							    is_virtual ? RTE_MEMPOOL_F_NO_IOVA_CONTIG : 0);
	if (pool == NULL)
		return NULL;
	int failed = rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), NULL);
	rte_pktmbuf_pool_init(pool, &about);
	if (failed != 0 || (failed = rte_mempool_populate_default(pool)) < 0) {
		rte_mempool_free(pool);
		rte_errno = -failed;
		return NULL;
	}
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
}

static int start(uint16_t port, uint16_t queues, unsigned int buffers, int is_virtual, int promiscuous, const char **step)
{
	struct rte_eth_conf conf = { 0 };
	struct rte_eth_dev_info info;
	uint16_t mtu = RTE_ETHER_MTU, received = 4096, sent = 512;
	int failed, socket = rte_eth_dev_socket_id(port);

	*step = "its properties";
	if ((failed = rte_eth_dev_info_get(port, &info)) != 0)
		return failed;
	rte_eth_dev_get_mtu(port, &mtu);
	conf.rxmode.mtu = mtu;
	uint32_t room = RTE_PKTMBUF_HEADROOM + RTE_MAX(mtu + RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN + 8, 2048);
	if (room > RTE_MBUF_DEFAULT_BUF_SIZE) {
		conf.rxmode.offloads = info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER;
		room = conf.rxmode.offloads ? RTE_MBUF_DEFAULT_BUF_SIZE : room;
	}
	*step = "configuration";
	if ((failed = rte_eth_dev_configure(port, queues, queues, &conf)) != 0)
		return failed;
	*step = "sizes of queues";
	if ((failed = rte_eth_dev_adjust_nb_rx_tx_desc(port, &received, &sent)) != 0)
		return failed;
	for (uint16_t queue = 0; queue < queues; queue++) {
		char name[RTE_MEMPOOL_NAMESIZE];
		snprintf(name, sizeof(name), "wt-%u-%u", port, queue);
		*step = "buffers";
		struct rte_mempool *pool = pool_of(name, buffers, room, socket, is_virtual);
		if (pool == NULL)
			return -rte_errno;
		*step = "a queue for sending, which drivers want beside each that receives";
		if ((failed = rte_eth_tx_queue_setup(port, queue, sent, socket, NULL)) != 0)
			return failed;
		*step = "a queue";
		if ((failed = rte_eth_rx_queue_setup(port, queue, received, socket, NULL, pool)) != 0)
			return failed;
	}
	*step = "start";
	if ((failed = rte_eth_dev_start(port)) != 0)
		return failed;
	*step = "promiscuous mode";
	failed = promiscuous ? rte_eth_promiscuous_enable(port) : 0;
	return failed == -ENOTSUP ? 0 : failed;
}

// Lets packets into the queues of a port, each with buffers of its own. `step` is what failed.
int wt_dpdk_start(uint16_t port, uint16_t queues, unsigned int buffers, int is_virtual, int promiscuous, const char **step)
{
	struct aside a = aside();
	int failed = start(port, queues, buffers, is_virtual, promiscuous, step);
	back(a);
	return failed;
}

// Copies what has come, at most `snap` bytes of each packet, into `to`, which holds `max` such packets. Stamps are those of drivers that have
// them (`stamp_at`, `stamp_flag`), in their units; else 0.
unsigned int wt_dpdk_receive(uint16_t port, uint16_t queue, uint32_t snap, int stamp_at, uint64_t stamp_flag,
			     uint8_t *to, struct wt_packet *packets, unsigned int max)
{
	struct rte_mbuf *burst[BURST];
	unsigned int count = 0;
	uint32_t at = 0;
	uint16_t came;
	do {
		came = rte_eth_rx_burst(port, queue, burst, RTE_MIN(max - count, (unsigned int)BURST));
		for (uint16_t i = 0; i < came; i++) {
			struct rte_mbuf *m = burst[i];
			uint32_t captured = RTE_MIN(m->pkt_len, snap);
			const void *bytes = rte_pktmbuf_read(m, 0, captured, to + at);
			if (bytes != to + at && captured > 0)
				memcpy(to + at, bytes, captured);
			uint64_t stamp = m->ol_flags & stamp_flag
				? *RTE_MBUF_DYNFIELD(m, stamp_at, rte_mbuf_timestamp_t *) : 0;
			packets[count++] = (struct wt_packet){ stamp, at, captured, m->pkt_len };
			at += captured;
		}
		rte_pktmbuf_free_bulk(burst, came);
	} while (came == BURST && max - count > 0);
	return count;
}

// Where drivers put stamps, once one of them does.
void wt_dpdk_stamps(int *at, uint64_t *flag)
{
	*at = rte_mbuf_dynfield_lookup(RTE_MBUF_DYNFIELD_TIMESTAMP_NAME, NULL);
	int bit = rte_mbuf_dynflag_lookup(RTE_MBUF_DYNFLAG_RX_TIMESTAMP_NAME, NULL);
	*flag = *at >= 0 && bit >= 0 ? RTE_BIT64(bit) : 0;
}

int wt_dpdk_stats(uint16_t port, struct wt_stats *out)
{
	struct rte_eth_stats stats;
	int failed = rte_eth_stats_get(port, &stats);
	if (failed == 0)
		*out = (struct wt_stats){ stats.ipackets, stats.imissed, stats.ierrors, stats.rx_nombuf };
	return failed;
}

int wt_dpdk_is_up(uint16_t port)
{
	struct rte_eth_link link = { 0 };
	return rte_eth_link_get_nowait(port, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

// Stops a port and lets go of its device; its buffers go with it, and so does the device itself, if DPDK has made it.
int wt_dpdk_close(uint16_t port, uint16_t queues, int is_virtual)
{
	struct rte_eth_dev_info info = { 0 };
	struct aside a = aside();
	rte_eth_dev_info_get(port, &info);
	int stopped = rte_eth_dev_stop(port), closed = rte_eth_dev_close(port);
	if (is_virtual && info.device != NULL)
		rte_dev_remove(info.device);
	back(a);
	for (uint16_t queue = 0; queue < queues; queue++) {
		char name[RTE_MEMPOOL_NAMESIZE];
		snprintf(name, sizeof(name), "wt-%u-%u", port, queue);
		rte_mempool_free(rte_mempool_lookup(name));
	}
	return stopped != 0 ? stopped : closed;
}
