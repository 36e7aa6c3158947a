// SPDX-License-Identifier: GPL-2.0
/*
 * Finds the pages of this process in physical memory.
 */
#include <fcntl.h>
#include <unistd.h>

#include "ehea-net.h"

/* Bits of a /proc/self/pagemap entry. */
#define PAGEMAP_PRESENT		(1ull << 63)
#define PAGEMAP_PFN		((1ull << 55) - 1)

size_t pages_inside(const void *area, size_t size, uint64_t low, uint64_t high)
{
	size_t page = sysconf(_SC_PAGESIZE);
	const volatile uint8_t *at = area;
	size_t inside = 0, offset;
	int pagemap = open("/proc/self/pagemap", O_RDONLY);

	if (pagemap < 0)
		die("no pagemap");
	for (offset = 0; offset < size; offset += page) {
		off_t index = (uintptr_t)(at + offset) / page;
		uint64_t entry, address;

		/* A page that was never touched has no physical address yet. */
		(void)at[offset];
		if (pread(pagemap, &entry, sizeof(entry), index * sizeof(entry)) != sizeof(entry))
			die("cannot read the pagemap");
		if (!(entry & PAGEMAP_PRESENT))
			die("the page at offset %zu is not present", offset);
		address = (entry & PAGEMAP_PFN) * page;
		if (address >= low && address < high)
			inside++;
	}
	close(pagemap);
	return inside;
}
