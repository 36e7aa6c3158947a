// SPDX-License-Identifier: GPL-2.0
/*
 * Kernels that follow the running one: at once, or when it crashes.
 */
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ehea-net.h"

/* Arguments: KERNEL INITRD COMMAND-LINE. */
static void load(char **argv, unsigned long flags)
{
	int kernel = open(argv[1], O_RDONLY);
	int initrd = open(argv[2], O_RDONLY);

	if (kernel < 0 || initrd < 0)
		die("cannot open %s", kernel < 0 ? argv[1] : argv[2]);
	if (syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[3]) + 1, argv[3], flags))
		die("the kernel does not take it");
}

/* Loads a kernel for a crash. The running one must have reserved memory (crashkernel=). */
int cmd_kdump(int argc, char **argv)
{
	(void)argc;
	load(argv, KEXEC_FILE_ON_CRASH);
	return 0;
}

/* Starts a kernel. Devices are shut down before, but processes are not ended. */
int cmd_kexec(int argc, char **argv)
{
	(void)argc;
	load(argv, 0);
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
	die("the kernel does not start the other one");
}
