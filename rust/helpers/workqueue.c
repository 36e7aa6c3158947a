// SPDX-License-Identifier: GPL-2.0
/*
 * Work items, immediate or delayed.
 */
#include <linux/jiffies.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "helpers.h"

struct rust_ext_work {
	struct delayed_work work;
	void (*fn)(void *context);
	void *context;
};

static void run(struct work_struct *work)
{
	struct rust_ext_work *w =
		container_of(to_delayed_work(work), struct rust_ext_work, work);

	w->fn(w->context);
}

struct rust_ext_work *rust_ext_work_alloc(void (*fn)(void *context),
					  void *context)
{
	struct rust_ext_work *w;

	w = kzalloc_obj(*w);
	if (!w)
		return NULL;

	INIT_DELAYED_WORK(&w->work, run);
	w->fn = fn;
	w->context = context;
	return w;
}

void rust_ext_work_free(struct rust_ext_work *w)
{
	disable_delayed_work_sync(&w->work);
	kfree(w);
}

void rust_ext_work_schedule(struct rust_ext_work *w)
{
	mod_delayed_work(system_dfl_long_wq, &w->work, 0);
}

void rust_ext_work_schedule_after(struct rust_ext_work *w, u64 msecs)
{
	queue_delayed_work(system_dfl_long_wq, &w->work,
			   msecs_to_jiffies(min(msecs, U32_MAX)));
}

void rust_ext_work_flush(struct rust_ext_work *w)
{
	flush_delayed_work(&w->work);
}

void rust_ext_work_cancel(struct rust_ext_work *w)
{
	cancel_delayed_work_sync(&w->work);
}

void rust_ext_work_disable(struct rust_ext_work *w)
{
	disable_delayed_work_sync(&w->work);
}
