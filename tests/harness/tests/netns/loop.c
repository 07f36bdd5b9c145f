/*
 * A well-behaved client of the predecessor's own libraries, while others on its node are not: sends a message, waits until
 * it is delivered, asks CMAP, QUORUM and VOTEQUORUM, and begins again, until it gets SIGTERM.
 *
 * The messages of each sender must come without gap and as they were sent, every call must succeed, and the node must be
 * quorate in every answer. Standard output gets "turns N" now and then, "done ..." at the end, or what was wrong; exit status 1 then.
 */
#include <corosync/cmap.h>
#include <corosync/cpg.h>
#include <corosync/quorum.h>
#include <corosync/votequorum.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { NODES = 64, SIZE = 3000 };

static uint32_t me, next_number[NODES], members;
static unsigned char known[NODES];
static volatile sig_atomic_t ended;

static void fail(const char *what, uint32_t a, uint32_t b)
{
	printf("wrong: %s, %u, %u\n", what, a, b);
	fflush(stdout);
	_exit(1);
}

static uint32_t size_of(uint32_t number)
{
	return 8 + number * 2654435761u % SIZE;
}

static void deliver(cpg_handle_t h, const struct cpg_name *g, uint32_t node, uint32_t pid, void *data, size_t len)
{
	const unsigned char *bytes = data;
	uint32_t head[2];
	(void)h; (void)g; (void)pid;

	/* Others are in this group too, and say what they like; they cannot say that they are node and number. */
	if (len < 8 || node >= NODES)
		return;
	memcpy(head, bytes, 8);
	if (head[0] != 0x676f6f64)
		return;
	if (known[node] && head[1] != next_number[node])
		fail("gap or repetition", node, head[1]);
	if (len != size_of(head[1]))
		fail("length", node, head[1]);
	for (size_t i = 8; i < len; i++)
		if (bytes[i] != (unsigned char)(head[1] + i))
			fail("content", node, head[1]);
	known[node] = 1;
	next_number[node] = head[1] + 1;
}

static void changed(cpg_handle_t h, const struct cpg_name *g, const struct cpg_address *all, size_t all_len,
		    const struct cpg_address *left, size_t left_len, const struct cpg_address *joined, size_t joined_len)
{
	(void)h; (void)g; (void)all; (void)left_len; (void)joined; (void)joined_len;
	members = all_len;
	for (size_t i = 0; i < left_len; i++)
		if (left[i].reason == CPG_REASON_NODEDOWN)
			fail("a node was lost", left[i].nodeid, left[i].pid);
}

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

int main(void)
{
	cpg_callbacks_t callbacks = { deliver, changed };
	struct cpg_name group = { 4, "flow" };
	struct sigaction action = { .sa_handler = end };
	struct votequorum_info info;
	struct pollfd fd = { .events = POLLIN };
	unsigned char message[8 + SIZE];
	uint32_t sent = 0, quorum_type, value, turns_told = 0;
	double longest = 0, parts[3] = { 0 };
	cpg_handle_t h;
	cmap_handle_t map;
	quorum_handle_t quorum;
	votequorum_handle_t votes;
	cs_error_t e;
	int quorate;

	sigaction(SIGTERM, &action, NULL);
	for (int tries = 0; (e = cpg_initialize(&h, &callbacks)) != CS_OK && tries < 3000; tries++)
		usleep(10000);
	if (e != CS_OK || (e = cpg_local_get(h, &me)) != CS_OK || (e = cpg_fd_get(h, &fd.fd)) != CS_OK)
		fail("cannot begin", e, 0);
	if ((e = cmap_initialize(&map)) != CS_OK || (e = quorum_initialize(&quorum, NULL, &quorum_type)) != CS_OK
	    || (e = votequorum_initialize(&votes, NULL)) != CS_OK)
		fail("cannot connect", e, 0);
	while ((e = cpg_join(h, &group)) == CS_ERR_TRY_AGAIN)
		usleep(10000);
	if (e != CS_OK)
		fail("cannot join", e, 0);
	while (!known[me] || !ended) {
		uint32_t head[2] = { 0x676f6f64, sent }, size = size_of(sent);
		struct iovec part = { message, size };
		double began = now(), queued, delivered, ended_at;

		memcpy(message, head, 8);
		for (uint32_t i = 8; i < size; i++)
			message[i] = (unsigned char)(sent + i);
		while ((e = cpg_mcast_joined(h, CPG_TYPE_AGREED, &part, 1)) == CS_ERR_TRY_AGAIN) {
			/* One that is told to try again and takes nothing would wait for itself. */
			if (cpg_dispatch(h, CS_DISPATCH_ALL) != CS_OK)
				fail("cannot take", me, sent);
			usleep(200);
		}
		if (e != CS_OK)
			fail("cannot send", e, sent);
		queued = now();
		while (!known[me] || next_number[me] != sent + 1) {
			if (now() - began > 30e3)
				fail("no delivery in half a minute", me, sent);
			poll(&fd, 1, 1000);
			if (fd.revents & (POLLHUP | POLLERR))
				fail("thrown out", me, sent);
			if ((e = cpg_dispatch(h, CS_DISPATCH_ALL)) != CS_OK)
				fail("cannot take", e, sent);
		}
		sent++;
		delivered = now();
		if ((e = cmap_get_uint32(map, "runtime.votequorum.this_node_id", &value)) != CS_OK || value != me)
			fail("CMAP", e, value);
		if ((e = quorum_getquorate(quorum, &quorate)) != CS_OK || quorate != 1)
			fail("QUORUM", e, quorate);
		if ((e = votequorum_getinfo(votes, me, &info)) != CS_OK || info.node_votes != 1)
			fail("VOTEQUORUM", e, info.node_votes);
		ended_at = now();
		if (ended_at - began > longest) {
			longest = ended_at - began;
			parts[0] = queued - began;
			parts[1] = delivered - queued;
			parts[2] = ended_at - delivered;
		}
		if (sent - turns_told >= 100) {
			turns_told = sent;
			printf("turns %u\n", sent);
			fflush(stdout);
		}
	}
	printf("done, %u turns, the longest took %.1f ms: %.1f to send, %.1f to be delivered, %.1f for three calls\n", sent,
	       longest, parts[0], parts[1], parts[2]);
	fflush(stdout);
	return 0;
}
