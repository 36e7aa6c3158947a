// SPDX-License-Identifier: GPL-2.0
/*
 * Memory hotplug.
 */
#include <linux/notifier.h>

#include "helpers.h"

__rust_helper int rust_ext_notifier_from_errno(int error)
{
	return notifier_from_errno(error);
}
