/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the `kernel` crate's bindings lack, for bindgen. rust/bindings/mod.rs
 * says what is taken from here.
 *
 * Sorted alphabetically.
 */

/* First, so that no enum is met as a forward reference. */
#include <linux/hrtimer_types.h>

#include <linux/crash_dump.h>
#include <linux/dma-mapping.h>
#include <linux/etherdevice.h>
#include <linux/kexec.h>
#include <linux/memory.h>
#include <linux/netdevice.h>
#include <linux/of_platform.h>
#include <linux/rtnetlink.h>
#include <net/netdev_queues.h>
#include <asm/hvcall.h>
#include <asm/vio.h>

#ifdef CONFIG_IBMEBUS
#include <asm/ibmebus.h>
#endif

#include "../helpers/helpers.h"
#include "../testing/testing.h"
#include "../trace/calls.h"

/* Macros that bindgen doesn't see as numbers. */
const gfp_t RUST_CONST_HELPER___GFP_RETRY_MAYFAIL = __GFP_RETRY_MAYFAIL;
const long RUST_CONST_HELPER_PAGE_OFFSET = PAGE_OFFSET;
const long RUST_CONST_HELPER_DMA_MAPPING_ERROR = DMA_MAPPING_ERROR;
