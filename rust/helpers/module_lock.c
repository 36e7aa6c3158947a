// SPDX-License-Identifier: GPL-2.0
/*
 * A lock of the module: what is static in Rust can't be initialised as a mutex
 * is.
 */
#include <linux/mutex.h>

#include "helpers.h"

DEFINE_MUTEX(rust_ext_module_lock);
