// SPDX-License-Identifier: GPL-2.0
/*
 * What is to be done when the kernel has crashed, before another one starts
 * that takes a dump.
 */
#include <linux/crash_dump.h>
#include <linux/kexec.h>
#include <linux/mutex.h>
#include <linux/rculist.h>
#include <asm/kexec.h>

#include "helpers.h"

/*
 * Handlers of this module. The kernel has room for few functions, and gives
 * them no argument, so the module registers one for all.
 *
 * Changed under the lock, and read without: a crash stops all CPUs for ever
 * before it calls, so that it may find a change half done, but never one that
 * goes on. That takes the order of stores of an RCU list, and no grace period.
 */
static LIST_HEAD(crash_handlers);
static DEFINE_MUTEX(crash_handlers_lock);

bool rust_ext_is_dump_kernel(void)
{
	return is_kdump_kernel();
}

void rust_ext_crash_call(void)
{
	struct rust_ext_crash_handler *handler;

	list_for_each_entry_rcu(handler, &crash_handlers, list, true)
		handler->fn(handler);
}

int rust_ext_crash_register(struct rust_ext_crash_handler *handler,
			    void (*fn)(struct rust_ext_crash_handler *handler))
{
	int full = 0;

	handler->fn = fn;
	guard(mutex)(&crash_handlers_lock);
	if (list_empty(&crash_handlers))
		full = crash_shutdown_register(rust_ext_crash_call);
	if (full)
		return -ENOSPC;
	list_add_tail_rcu(&handler->list, &crash_handlers);
	return 0;
}

void rust_ext_crash_unregister(struct rust_ext_crash_handler *handler)
{
	guard(mutex)(&crash_handlers_lock);
	list_del_rcu(&handler->list);
	if (list_empty(&crash_handlers))
		crash_shutdown_unregister(rust_ext_crash_call);
}
