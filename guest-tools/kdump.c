// SPDX-License-Identifier: GPL-2.0
/*
 * Loads the kernel that is started when the running one crashes.
 */
#include <fcntl.h>
#include <linux/kexec.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ehea-net.h"

/* Arguments: KERNEL INITRD COMMAND-LINE. The running kernel must have reserved memory (crashkernel=). */
int cmd_kdump(int argc, char **argv)
{
	int kernel = open(argv[1], O_RDONLY);
	int initrd = open(argv[2], O_RDONLY);

	(void)argc;
	if (kernel < 0 || initrd < 0)
		die("cannot open %s", kernel < 0 ? argv[1] : argv[2]);
	if (syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[3]) + 1, argv[3],
		    KEXEC_FILE_ON_CRASH))
		die("the kernel does not take it");
	return 0;
}
