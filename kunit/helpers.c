// SPDX-License-Identifier: GPL-2.0
/*
 * The test module's own copy of the helpers: kbuild doesn't let two modules
 * share an object.
 */
#include "../rust/helpers/crash.c"
#include "../rust/helpers/debugfs.c"
#include "../rust/helpers/memory.c"
#include "../rust/helpers/module_lock.c"
#include "../rust/helpers/netdev.c"
#include "../rust/helpers/platform.c"
#include "../rust/helpers/queue.c"
#include "../rust/helpers/skbuff.c"
#include "../rust/helpers/workqueue.c"
#include "../rust/testing/testing.c"
