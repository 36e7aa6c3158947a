// SPDX-License-Identifier: GPL-2.0
/*
 * What is to be done when the kernel has crashed, before another one starts
 * that takes a dump.
 */
#include <linux/crash_dump.h>
#include <linux/kexec.h>
#include <asm/kexec.h>

#include "helpers.h"

__rust_helper bool rust_ext_is_dump_kernel(void)
{
	return is_kdump_kernel();
}

__rust_helper int rust_ext_crash_shutdown_register(void (*fn)(void))
{
	return crash_shutdown_register(fn);
}

__rust_helper int rust_ext_crash_shutdown_unregister(void (*fn)(void))
{
	return crash_shutdown_unregister(fn);
}
