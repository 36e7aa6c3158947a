// SPDX-License-Identifier: GPL-2.0
/*
 * Work items.
 */
#include <linux/workqueue.h>

#include "helpers.h"

__rust_helper void rust_ext_INIT_DELAYED_WORK(struct delayed_work *work, work_func_t fn)
{
	INIT_DELAYED_WORK(work, fn);
}
