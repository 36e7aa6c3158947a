// SPDX-License-Identifier: GPL-2.0
/*
 * Calls of the tracepoints, each of which is a static branch while it is off.
 */
#define CREATE_TRACE_POINTS
#include "ehea_trace.h"

void ehea_trace_rebuild_start(const struct device *dev, u64 generation,
			      bool removal)
{
	trace_ehea_rebuild_start(dev, generation, removal);
}

void ehea_trace_rebuild_end(const struct device *dev,
			    const struct ehea_trace_rebuild *rebuild)
{
	trace_ehea_rebuild_end(dev, rebuild);
}

void ehea_trace_miss(const struct net_device *dev, u64 address, bool receive)
{
	trace_ehea_miss(dev, address, receive);
}
