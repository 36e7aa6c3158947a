// SPDX-License-Identifier: GPL-2.0
/*
 * Memory: walk of what is online, hotplug notifier, buffers for the adapter.
 */
#include <linux/align.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/slab.h>

#include "helpers.h"

#define SECTION_BYTES	BIT_ULL(SECTION_SIZE_BITS)

/* SECTION_SIZE in rust/kernel/memory.rs. */
static_assert(SECTION_SIZE_BITS == 24);

struct online_walk {
	rust_ext_range_fn fn;
	void *context;
	int err;
	/* The run of online sections not yet handed over. */
	u64 base;
	u64 len;
};

static int online_flush(struct online_walk *walk)
{
	if (walk->len)
		walk->err = walk->fn(walk->context, walk->base, walk->len);
	walk->len = 0;
	return walk->err;
}

static int online_resource(struct resource *res, void *arg)
{
	u64 base = ALIGN(res->start, SECTION_BYTES);
	u64 end = ALIGN_DOWN(res->end + 1, SECTION_BYTES);
	struct online_walk *walk = arg;

	for (; base < end; base += SECTION_BYTES) {
		/* Not for offline sections, nor for ZONE_DEVICE. */
		if (!pfn_to_online_page(PHYS_PFN(base)))
			continue;
		if (walk->len && base == walk->base + walk->len) {
			walk->len += SECTION_BYTES;
			continue;
		}
		if (online_flush(walk))
			return walk->err;
		walk->base = base;
		walk->len = SECTION_BYTES;
	}
	return 0;
}

int rust_ext_walk_online_sections(rust_ext_range_fn fn, void *context)
{
	struct online_walk walk = { .fn = fn, .context = context };
	int err;

	/* The resource tree is ordered by address. */
	err = walk_iomem_res_desc(IORES_DESC_NONE,
				  IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY, 0,
				  U64_MAX, &walk, online_resource);
	if (err)
		return err;
	return online_flush(&walk);
}

int rust_ext_notifier_from_errno(int error)
{
	return notifier_from_errno(error);
}

void *rust_ext_alloc_pages_exact(size_t len, u64 *real_address)
{
	void *addr;

	addr = alloc_pages_exact(len, GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN);
	if (addr)
		*real_address = virt_to_phys(addr);
	return addr;
}

void rust_ext_free_pages_exact(void *addr, size_t len)
{
	free_pages_exact(addr, len);
}
