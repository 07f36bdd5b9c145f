/* Takes one lock exclusively and keeps it: locker LOCKSPACE RESOURCE. Says "asking", then "granted". */
#include <sys/types.h>
#include <libdlm.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct dlm_lksb status;
	dlm_lshandle_t space;

	if (argc != 3)
		return 64;
	setvbuf(stdout, NULL, _IOLBF, 0);
	space = dlm_open_lockspace(argv[1]);
	/* The thread that takes the answers: without it a call that waits does so for ever. */
	if (!space || dlm_ls_pthread_init(space)) {
		perror("dlm_open_lockspace");
		return 1;
	}
	puts("asking");
	memset(&status, 0, sizeof(status));
	if (dlm_ls_lock_wait(space, LKM_EXMODE, &status, 0, argv[2], strlen(argv[2]), 0, NULL, NULL, NULL)) {
		perror("dlm_ls_lock_wait");
		return 1;
	}
	if (status.sb_status) {
		printf("refused: %d\n", status.sb_status);
		return 1;
	}
	puts("granted");
	for (;;)
		pause();
}
