#define _GNU_SOURCE
/*
 * The bench's client on the predecessor's own libraries.
 *
 *   libraries client GROUP NODES ROLE SIZE SECONDS   as `bench client`: ROLE is send, receive or talk
 *   libraries calls WHAT PAUSE SECONDS               one call after the other with PAUSE microseconds between; WHAT is a function,
 *                                                    or "wake-ups": what the machine takes for the same with no daemon at all;
 *                                                    "wake-ups-apart": the same, the two processes on different CPUs
 *
 * Prints "result" and numbers: messages received and seconds, or microseconds of each message or call.
 */
#include <corosync/cmap.h>
#include <corosync/cpg.h>
#include <corosync/quorum.h>
#include <corosync/votequorum.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SAMPLES_MAX = 500000, IN_A_ROW = 64 };

static uint64_t received;
static size_t members;
static double samples[SAMPLES_MAX];

static void check(cs_error_t e, const char *what)
{
	if (e != CS_OK) {
		printf("%s: error %d\n", what, e);
		exit(1);
	}
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void deliver(cpg_handle_t h, const struct cpg_name *g, uint32_t node, uint32_t pid, void *data, size_t len)
{
	(void)h; (void)g; (void)node; (void)pid; (void)data; (void)len;
	received++;
}

static void changed(cpg_handle_t h, const struct cpg_name *g, const struct cpg_address *all, size_t all_len,
		    const struct cpg_address *left, size_t left_len, const struct cpg_address *joined, size_t joined_len)
{
	(void)h; (void)g; (void)all; (void)left; (void)left_len; (void)joined; (void)joined_len;
	members = all_len;
}

static void show(size_t n)
{
	printf("result");
	for (size_t k = 0; k < n; k++)
		printf(" %.1f", samples[k]);
	printf("\n");
}

static int client(char **arg)
{
	cpg_callbacks_t callbacks = { deliver, changed };
	struct cpg_name group = { strlen(arg[0]), "" };
	size_t nodes = strtoul(arg[1], NULL, 10), size = strtoul(arg[3], NULL, 10), n = 0;
	int talks = strcmp(arg[2], "talk") == 0, sends = strcmp(arg[2], "send") == 0;
	double limit = strtod(arg[4], NULL) * 1e6, began, took, drained;
	struct pollfd fd = { .events = POLLIN };
	struct iovec part = { calloc(1, size + 1), size };
	cpg_handle_t h;
	cs_error_t e;

	memcpy(group.value, arg[0], group.length);
	for (int tries = 0; (e = cpg_initialize(&h, &callbacks)) != CS_OK && tries < 3000; tries++)
		usleep(10000);
	check(e, "cpg_initialize");
	check(cpg_fd_get(h, &fd.fd), "cpg_fd_get");
	while ((e = cpg_join(h, &group)) == CS_ERR_TRY_AGAIN)
		usleep(5000);
	check(e, "cpg_join");
	while (members < nodes) {
		poll(&fd, 1, 1000);
		check(cpg_dispatch(h, CS_DISPATCH_ALL), "cpg_dispatch");
	}
	began = now();
	while (now() - began < limit) {
		uint64_t before = received;
		int sent = 0;

		if (talks) {
			double at = now();

			while ((e = cpg_mcast_joined(h, CPG_TYPE_AGREED, &part, 1)) == CS_ERR_TRY_AGAIN)
				usleep(100);
			check(e, "cpg_mcast_joined");
			while (received == before) {
				poll(&fd, 1, 30000);
				check(cpg_dispatch(h, CS_DISPATCH_ALL), "cpg_dispatch");
			}
			if (n < SAMPLES_MAX)
				samples[n++] = now() - at;
			continue;
		}
		while (sends && sent < IN_A_ROW && (e = cpg_mcast_joined(h, CPG_TYPE_AGREED, &part, 1)) != CS_ERR_TRY_AGAIN) {
			check(e, "cpg_mcast_joined");
			sent++;
		}
		check(cpg_dispatch(h, CS_DISPATCH_ALL), "cpg_dispatch");
		if (sent == 0 && received == before)
			poll(&fd, 1, 1);
	}
	took = (now() - began) / 1e6;
	if (!talks) {
		samples[0] = received;
		samples[1] = took;
		n = 2;
	}
	/* Whoever leaves while others still count would be a change of the group in their figures. */
	for (drained = now(); now() - drained < 200e3;) {
		poll(&fd, 1, 10);
		check(cpg_dispatch(h, CS_DISPATCH_ALL), "cpg_dispatch");
	}
	if (talks)
		show(n);
	else
		printf("result %.0f %.6f\n", samples[0], samples[1]);
	return 0;
}

/*
 * What libqb and a daemon do for a call, and nothing else: a byte on a socket wakes a realtime process that sleeps in epoll,
 * a semaphore wakes the caller. Below this no daemon can be.
 */
static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void answer(int fd, sem_t *done)
{
	struct sched_param param = { .sched_priority = sched_get_priority_max(SCHED_RR) };
	struct rlimit leash = { 1000000, 1000000 };
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int epoll = epoll_create1(0);
	char byte;

	setrlimit(RLIMIT_RTTIME, &leash);
	sched_setscheduler(0, SCHED_RR, &param);
	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	for (;;) {
		ssize_t n;

		epoll_wait(epoll, &event, 1, -1);
		while ((n = recv(fd, &byte, 1, MSG_DONTWAIT)) == 1)
			sem_post(done);
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			_exit(0);
	}
}

static void wake(int fd, sem_t *done)
{
	struct timespec limit;

	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 2;
	if (send(fd, "", 1, MSG_NOSIGNAL) != 1 || sem_timedwait(done, &limit) != 0) {
		printf("wake-ups: error %d\n", errno);
		exit(1);
	}
}

static int calls(char **arg)
{
	useconds_t pause = strtoul(arg[1], NULL, 10);
	double limit = strtod(arg[2], NULL) * 1e6, began;
	struct votequorum_info info;
	cmap_handle_t map = 0;
	quorum_handle_t quorum = 0;
	votequorum_handle_t votes = 0;
	uint32_t type, value;
	int quorate, pair[2];
	int floor = strncmp(arg[0], "wake-ups", 8) == 0, apart = strcmp(arg[0], "wake-ups-apart") == 0;
	sem_t *done = NULL;
	pid_t child = 0;
	size_t n = 0;

	if (floor) {
		done = mmap(NULL, sizeof(*done), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		sem_init(done, 1, 0);
		socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
		child = fork();
		if (apart)
			pin(child == 0);
		if (child == 0) {
			close(pair[0]);
			answer(pair[1], done);
		}
		close(pair[1]);
	}
	check(cmap_initialize(&map), "cmap_initialize");
	check(quorum_initialize(&quorum, NULL, &type), "quorum_initialize");
	check(votequorum_initialize(&votes, NULL), "votequorum_initialize");
	for (began = now(); now() - began < limit && n < SAMPLES_MAX;) {
		double at = now();

		if (floor)
			wake(pair[0], done);
		else if (strcmp(arg[0], "cmap_get") == 0)
			check(cmap_get_uint32(map, "runtime.votequorum.this_node_id", &value), "cmap_get_uint32");
		else if (strcmp(arg[0], "quorum_getquorate") == 0)
			check(quorum_getquorate(quorum, &quorate), "quorum_getquorate");
		else
			check(votequorum_getinfo(votes, 1, &info), "votequorum_getinfo");
		samples[n++] = now() - at;
		if (pause > 0)
			usleep(pause);
	}
	if (floor) {
		close(pair[0]);
		waitpid(child, NULL, 0);
	}
	show(n);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 7 && strcmp(argv[1], "client") == 0)
		return client(argv + 2);
	if (argc == 5 && strcmp(argv[1], "calls") == 0)
		return calls(argv + 2);
	return 2;
}
