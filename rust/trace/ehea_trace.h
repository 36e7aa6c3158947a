/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of the driver. The fields are an interface: see
 * Documentation/interfaces.rst.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM ehea

#if !defined(_EHEA_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _EHEA_TRACE_H

#include <linux/device.h>
#include <linux/netdevice.h>
#include <linux/tracepoint.h>

#include "calls.h"

TRACE_EVENT(ehea_rebuild_start,
	TP_PROTO(const struct device *dev, u64 generation, bool removal),
	TP_ARGS(dev, generation, removal),
	TP_STRUCT__entry(
		__string(device, dev_name(dev))
		__field(u64, generation)
		__field(bool, removal)
	),
	TP_fast_assign(
		__assign_str(device);
		__entry->generation = generation;
		__entry->removal = removal;
	),
	TP_printk("device=%s cause=%s generation=%llu", __get_str(device),
		  __entry->removal ? "immediate" : "lazy", __entry->generation)
);

TRACE_EVENT(ehea_rebuild_end,
	TP_PROTO(const struct device *dev,
		 const struct ehea_trace_rebuild *rebuild),
	TP_ARGS(dev, rebuild),
	TP_STRUCT__entry(
		__string(device, dev_name(dev))
		__field(u64, generation)
		__field(u64, bytes)
		__field(u64, hcalls)
		__field(u64, ns)
		__field(u64, blackout_hcalls)
		__field(u64, blackout_ns)
		__field(u32, result)
	),
	TP_fast_assign(
		__assign_str(device);
		__entry->generation = rebuild->generation;
		__entry->bytes = rebuild->bytes;
		__entry->hcalls = rebuild->hcalls;
		__entry->ns = rebuild->ns;
		__entry->blackout_hcalls = rebuild->blackout_hcalls;
		__entry->blackout_ns = rebuild->blackout_ns;
		__entry->result = rebuild->result;
	),
	TP_printk("device=%s generation=%llu result=%s bytes=%llu hcalls=%llu ns=%llu blackout_hcalls=%llu blackout_ns=%llu",
		  __get_str(device), __entry->generation,
		  /* The numbers are those of rust/trace/mod.rs. */
		  __print_symbolic(__entry->result,
				   { 0, "unchanged" },
				   { 1, "published" },
				   { 2, "failed" }),
		  __entry->bytes, __entry->hcalls, __entry->ns,
		  __entry->blackout_hcalls, __entry->blackout_ns)
);

TRACE_EVENT(ehea_miss,
	TP_PROTO(const struct net_device *dev, u64 address, bool receive),
	TP_ARGS(dev, address, receive),
	TP_STRUCT__entry(
		__string(name, dev->name)
		__field(u64, address)
		__field(bool, receive)
	),
	TP_fast_assign(
		__assign_str(name);
		__entry->address = address;
		__entry->receive = receive;
	),
	TP_printk("dev=%s address=0x%llx direction=%s", __get_str(name),
		  __entry->address, __entry->receive ? "rx" : "tx")
);

#endif /* _EHEA_TRACE_H */

/* This part must be outside of the protection; the Kbuild has the -I. */
#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE ehea_trace
#include <trace/define_trace.h>
