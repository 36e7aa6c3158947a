/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What Rust calls; its view of this is generated: rust/bindings.
 */
#ifndef EHEA_TRACE_CALLS_H
#define EHEA_TRACE_CALLS_H

#include <linux/types.h>

struct device;
struct net_device;

/* A rebuild that has ended. */
struct ehea_trace_rebuild {
	u64 generation;
	u64 bytes;
	u64 hcalls;
	u64 ns;
	u64 blackout_hcalls;
	u64 blackout_ns;
	u32 result;
};

void ehea_trace_rebuild_start(const struct device *dev, u64 generation,
			      bool removal);
void ehea_trace_rebuild_end(const struct device *dev,
			    const struct ehea_trace_rebuild *rebuild);
void ehea_trace_miss(const struct net_device *dev, u64 address, bool receive);

#endif /* EHEA_TRACE_CALLS_H */
