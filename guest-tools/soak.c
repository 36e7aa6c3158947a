// SPDX-License-Identifier: GPL-2.0
/*
 * Measures the processor time that everything but idling takes while a command runs, on a machine
 * with one processor. A process of the lowest class counts loops whenever nothing else runs. The time
 * that its loops do not account for was used. When the clock counts instructions (QEMU's -icount
 * shift=0), the result is a number of instructions.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ehea-net.h"

/* Length of the calibration. */
#define CALIBRATION_NS	200000000ull

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static void spin(volatile uint64_t *counter)
{
	struct sched_param param = {};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (sched_setscheduler(0, SCHED_IDLE, &param))
		die("no SCHED_IDLE");
	for (;;)
		(*counter)++;
}

/* Arguments: COMMAND, run by the shell. Prints the elapsed and the used time, in nanoseconds. */
int cmd_soak(int argc, char **argv)
{
	uint64_t start, elapsed, loops, calibration_ns, calibration_loops;
	struct timespec pause = { .tv_nsec = CALIBRATION_NS };
	uint64_t idle;
	volatile uint64_t *counter;
	pid_t pid;
	int status;

	(void)argc;
	counter = mmap(NULL, sizeof(*counter), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (counter == MAP_FAILED)
		die("no memory");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid)
		spin(counter);

	/* The calibration includes the timer interrupts, which therefore count as idle time. */
	nanosleep(&pause, NULL);
	start = now();
	loops = *counter;
	nanosleep(&pause, NULL);
	calibration_ns = now() - start;
	calibration_loops = *counter - loops;
	if (!calibration_loops)
		die("the machine is not idle");

	start = now();
	loops = *counter;
	status = system(argv[1]);
	elapsed = now() - start;
	loops = *counter - loops;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);

	idle = (unsigned __int128)loops * calibration_ns / calibration_loops;
	printf("elapsed_ns %llu used_ns %llu\n", (unsigned long long)elapsed,
	       (unsigned long long)(elapsed > idle ? elapsed - idle : 0));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/*
 * Arguments: INTERFACE READY. Waits for the frame that ends a series. It writes a line to the file
 * READY as soon as it can receive that frame. Nobody receives the earlier frames of the series: the
 * stack drops them, which costs the least time.
 */
int cmd_await(int argc, char **argv)
{
	static const char line[] = "ehea-net: waiting\n";
	int fd = packet_socket(argv[1], END_ETHERTYPE);
	int ready = open(argv[2], O_WRONLY | O_CREAT, 0644);
	char frame[MAX_FRAME];

	(void)argc;
	if (ready < 0 || write(ready, line, sizeof(line) - 1) < 0 || close(ready))
		die("%s", argv[2]);
	return recv(fd, frame, sizeof(frame), 0) < 0;
}
