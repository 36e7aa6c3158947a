// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers for subcommands that run in the background until they are terminated, and then report.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ehea-net.h"

volatile sig_atomic_t stopped;

static void stop(int signal)
{
	(void)signal;
	stopped = 1;
}

void go_to_background(const char *report)
{
	struct sigaction action = { .sa_handler = stop };
	pid_t pid;
	int null;

	/* An old report must not be taken for that of this run. */
	unlink(report);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid) {
		printf("%d\n", pid);
		exit(0);
	}
	setsid();
	null = open("/dev/null", O_RDWR);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
		die("/dev/null");
	sigaction(SIGTERM, &action, NULL);
}

FILE *open_report(const char *path)
{
	FILE *report = fopen(path, "w");

	if (!report)
		die("%s", path);
	return report;
}
