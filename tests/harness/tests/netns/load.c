/*
 * A client of the predecessor's own library: libcpg, as Pacemaker uses it.
 *
 *   load MEMBERS COUNT SEED OUT     waits for MEMBERS in the group, sends COUNT messages, takes part until all have come
 *   load 0 0 0 OUT                  listens only, until it gets SIGTERM
 *
 * Each message names its sender's number and says what is in it; whoever gets it checks that no number of a sender is
 * missing or comes twice, and every byte. OUT gets eight bytes a message, in the order of delivery: node and number, little
 * endian. Standard output gets "done" at the end, or what was wrong; exit status 1 then.
 */
#include <corosync/cpg.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* libcpg cuts up what has more than 1,047,552 bytes: the largest go in two pieces. */
enum { SIZE_MAX_BYTES = 1 << 20, HEAD = 12, NODES = 64 };

static uint32_t me, members_wanted, count, members;
static uint32_t next_number[NODES];
static unsigned char known[NODES];
static uint64_t received;
static FILE *out;
static volatile sig_atomic_t ended;
static unsigned char message[SIZE_MAX_BYTES];

static void fail(const char *what, uint32_t node, uint32_t number)
{
	printf("wrong: %s, node %u, message %u, after %llu\n", what, node, number, (unsigned long long)received);
	fflush(stdout);
	_exit(1);
}

static uint32_t mix(uint32_t x)
{
	x ^= x >> 16; x *= 0x7feb352d; x ^= x >> 15; x *= 0x846ca68b; x ^= x >> 16;
	return x;
}

/* From one byte to 1 MiB. Most are small, one in some thousand is as large as it gets. */
static uint32_t size_of(uint32_t node, uint32_t number)
{
	uint32_t x = mix(node * 2654435761u + number), kind = x % 4096;

	if (kind == 0)
		return SIZE_MAX_BYTES;
	if (kind < 8)
		return 1 + mix(x) % 200000;
	if (kind < 256)
		return 1 + mix(x) % 9000;
	return 1 + mix(x) % 300;
}

static void fill(unsigned char *to, uint32_t node, uint32_t number, uint32_t size)
{
	uint32_t head[3] = { node, number, size }, i;

	for (i = 0; i < size; i++)
		to[i] = i < HEAD ? ((unsigned char *)head)[i] : (unsigned char)(number * 31 + i);
}

static void deliver(cpg_handle_t h, const struct cpg_name *g, uint32_t node, uint32_t pid, void *data, size_t len)
{
	uint32_t number, record[2], i;
	const unsigned char *bytes = data;
	(void)h; (void)g; (void)pid;

	if (node >= NODES)
		fail("unknown sender", node, 0);
	/* Too small for a head: its number is the next one, or it is wrong. */
	if (len >= HEAD)
		memcpy(&number, bytes + 4, 4);
	else
		number = next_number[node];
	if (!known[node]) {
		if (len < HEAD)
			return; /* not known yet which one that is */
		known[node] = 1;
		next_number[node] = number;
	}
	if (number != next_number[node])
		fail("gap or repetition", node, number);
	if (len != size_of(node, number))
		fail("length", node, number);
	if (len >= HEAD && memcmp(bytes, &node, 4) != 0)
		fail("somebody else's message", node, number);
	for (i = len >= HEAD ? HEAD : 0; i < len; i++) {
		uint32_t head[3] = { node, number, (uint32_t)len };
		unsigned char want = i < HEAD ? ((unsigned char *)head)[i] : (unsigned char)(number * 31 + i);
		if (bytes[i] != want)
			fail("content", node, number);
	}
	next_number[node] = number + 1;
	record[0] = node;
	record[1] = number;
	fwrite(record, sizeof record, 1, out);
	received++;
}

static void changed(cpg_handle_t h, const struct cpg_name *g, const struct cpg_address *all, size_t all_len,
		    const struct cpg_address *left, size_t left_len, const struct cpg_address *joined, size_t joined_len)
{
	(void)h; (void)g; (void)all; (void)left; (void)left_len; (void)joined; (void)joined_len;
	members = all_len;
}

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

int main(int argc, char **argv)
{
	cpg_callbacks_t callbacks = { deliver, changed };
	struct cpg_name group = { 4, "load" };
	struct sigaction action = { .sa_handler = end };
	struct pollfd fd = { .events = POLLIN };
	uint32_t sent = 0, cut_short = 0;
	cpg_handle_t h;
	cs_error_t e;

	if (argc != 5 || (out = fopen(argv[4], "w")) == NULL)
		return 2;
	members_wanted = strtoul(argv[1], NULL, 10);
	count = strtoul(argv[2], NULL, 10);
	sigaction(SIGTERM, &action, NULL);
	/* The daemon may be starting: nobody listens (CS_ERR_LIBRARY), then it says try again. */
	for (int tries = 0; (e = cpg_initialize(&h, &callbacks)) != CS_OK && tries < 3000; tries++)
		usleep(10000);
	if (e != CS_OK || cpg_local_get(h, &me) != CS_OK || cpg_fd_get(h, &fd.fd) != CS_OK)
		fail("cannot begin", e, 0);
	while ((e = cpg_join(h, &group)) == CS_ERR_TRY_AGAIN)
		usleep(10000);
	if (e != CS_OK)
		fail("cannot join", e, 0);
	/* Who sends hears all of itself and of those who wait for it, from the first message on. */
	for (uint32_t n = 0; count > 0 && n < NODES; n++)
		known[n] = 1;
	while (!ended && (count == 0 || received < (uint64_t)members_wanted * count)) {
		if (sent < count && (sent > 0 || members >= members_wanted)) {
			uint32_t size = size_of(me, sent);
			struct iovec part = { message, size };

			fill(message, me, sent, size);
			e = cpg_mcast_joined(h, CPG_TYPE_AGREED, &part, 1);
			if (e == CS_OK)
				sent++;
			else if (e == CS_ERR_INTERRUPT)
				cut_short++; /* a fragment had to wait for too long: nobody gets any of it */
			else if (e != CS_ERR_TRY_AGAIN)
				fail("cannot send", e, sent);
		} else {
			e = CS_ERR_TRY_AGAIN;
		}
		if (poll(&fd, 1, e == CS_OK ? 0 : 1) > 0 && cpg_dispatch(h, CS_DISPATCH_ALL) != CS_OK)
			fail("cannot take", me, sent);
	}
	fclose(out);
	if (count == 0)
		cpg_finalize(h);
	printf("done, %u messages cut short and sent again\n", cut_short);
	fflush(stdout);
	while (count > 0 && !ended)
		pause(); /* nobody is to leave before all are done */
	return 0;
}
