/*
 * A client of libcpg that outlives its daemon: it joins a group, sends a few hundred small and some large messages a
 * second, checks all that it gets, and begins again when the daemon is gone. SIGTERM ends it.
 *
 * Of each member, from the message after its join on: no number missing or twice, every byte right. Nobody leaves who was
 * not there or joins who is; nobody sends who is no member; the list is what joins and leaves made of it. Standard output
 * gets "members N…" at each change, "got NODE COUNT…" each second, and "wrong: …" before exit status 1.
 */
#include <corosync/cpg.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { NODES = 64, SIZE_MAX_BYTES = 60000 };

struct head { uint32_t node, number, size, pad; uint64_t life; };
struct sender { uint32_t member, pid, known, next; uint64_t life, count; };

static struct sender senders[NODES];
static uint32_t me, told;
static volatile sig_atomic_t ended;
static unsigned char message[SIZE_MAX_BYTES];

static void fail(const char *what, uint32_t node, uint32_t number)
{
	printf("wrong: %s, node %u, message %u, expected %u\n", what, node, number, senders[node % NODES].next);
	fflush(stdout);
	_exit(1);
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static uint32_t mix(uint32_t x)
{
	x ^= x >> 16; x *= 0x7feb352d; x ^= x >> 15; x *= 0x846ca68b; x ^= x >> 16;
	return x;
}

static uint32_t size_of(uint32_t number)
{
	uint32_t x = mix(number), least = sizeof(struct head);

	return x % 64 == 0 ? least + mix(x) % (SIZE_MAX_BYTES - least) : least + mix(x) % 200;
}

static void deliver(cpg_handle_t h, const struct cpg_name *g, uint32_t node, uint32_t pid, void *data, size_t len)
{
	struct head head;
	struct sender *s = &senders[node % NODES];
	const unsigned char *bytes = data;
	(void)h; (void)g;

	if (node >= NODES || len < sizeof head)
		fail("nobody's message", node, 0);
	memcpy(&head, data, sizeof head);
	if (!s->member || s->pid != pid || head.node != node)
		fail("no member sends", node, head.number);
	if (s->known && (head.life != s->life || head.number != s->next))
		fail("gap, repetition or another life", node, head.number);
	if (head.size != len || len != size_of(head.number))
		fail("length", node, head.number);
	for (size_t i = sizeof head; i < len; i++)
		if (bytes[i] != (unsigned char)(head.number * 31 + i))
			fail("content", node, head.number);
	s->known = 1;
	s->life = head.life;
	s->next = head.number + 1;
	s->count++;
}

static void changed(cpg_handle_t h, const struct cpg_name *g, const struct cpg_address *all, size_t all_len,
		    const struct cpg_address *left, size_t left_len, const struct cpg_address *joined, size_t joined_len)
{
	size_t i, count = 0;
	(void)h; (void)g;

	if (!told) /* what was there before us */
		for (i = 0; i < all_len; i++) {
			senders[all[i].nodeid % NODES].member = 1;
			senders[all[i].nodeid % NODES].pid = all[i].pid;
		}
	for (i = 0; i < left_len; i++) {
		struct sender *s = &senders[left[i].nodeid % NODES];

		if (told && (!s->member || s->pid != left[i].pid))
			fail("leaves and was not there", left[i].nodeid, left[i].pid);
		s->member = s->known = 0;
	}
	for (i = 0; i < joined_len; i++) {
		struct sender *s = &senders[joined[i].nodeid % NODES];

		if (told && s->member)
			fail("joins and is there", joined[i].nodeid, joined[i].pid);
		s->member = 1;
		s->known = 0;
		s->pid = joined[i].pid;
	}
	for (i = 0; i < NODES; i++)
		count += senders[i].member;
	if (count != all_len)
		fail("another number of members", me, all_len);
	printf("members");
	for (i = 0; i < all_len; i++) {
		if (!senders[all[i].nodeid % NODES].member)
			fail("is in the list and did not join", all[i].nodeid, 0);
		printf(" %u", all[i].nodeid);
	}
	printf("\n");
	fflush(stdout);
	told = 1;
}

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

/* From a connection to its end. */
static void live(cpg_handle_t h)
{
	struct cpg_name group = { 5, "churn" };
	struct pollfd fd = { .events = POLLIN };
	uint64_t send_at = 0, tell_at = 0, life = now_us() << 16 ^ getpid();
	uint32_t number = 0;
	cs_error_t e;

	memset(senders, 0, sizeof senders);
	told = 0;
	while ((e = cpg_join(h, &group)) == CS_ERR_TRY_AGAIN && !ended)
		usleep(10000);
	if (e != CS_OK || cpg_local_get(h, &me) != CS_OK || cpg_fd_get(h, &fd.fd) != CS_OK)
		return;
	while (!ended) {
		uint64_t now = now_us();

		if (told && now >= send_at) {
			struct head head = { me, number, size_of(number), 0, life };
			struct iovec part = { message, head.size };

			memcpy(message, &head, sizeof head);
			for (size_t i = sizeof head; i < head.size; i++)
				message[i] = (unsigned char)(number * 31 + i);
			e = cpg_mcast_joined(h, CPG_TYPE_AGREED, &part, 1);
			if (e != CS_OK && e != CS_ERR_TRY_AGAIN)
				return;
			number += e == CS_OK;
			send_at = now + 5000;
		}
		if (poll(&fd, 1, 5) > 0 && cpg_dispatch(h, CS_DISPATCH_ALL) != CS_OK)
			return;
		if (now >= tell_at) {
			printf("got");
			for (int i = 0; i < NODES; i++)
				if (senders[i].count)
					printf(" %d %llu", i, (unsigned long long)senders[i].count);
			printf("\n");
			fflush(stdout);
			tell_at = now + 1000000;
		}
	}
}

int main(void)
{
	cpg_callbacks_t callbacks = { deliver, changed };
	struct sigaction action = { .sa_handler = end };
	cpg_handle_t h;

	sigaction(SIGTERM, &action, NULL);
	while (!ended) {
		if (cpg_initialize(&h, &callbacks) == CS_OK) {
			live(h);
			cpg_finalize(h);
		}
		usleep(20000);
	}
	printf("done\n");
	return 0;
}
