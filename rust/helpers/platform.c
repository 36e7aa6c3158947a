// SPDX-License-Identifier: GPL-2.0
/*
 * Firmware and registers.
 */
#include <linux/io.h>
#include <asm/firmware.h>

#include "helpers.h"

__rust_helper bool rust_ext_firmware_has_cmo(void)
{
	return firmware_has_feature(FW_FEATURE_CMO);
}

__rust_helper void rust_ext_out_be64(void __iomem *addr, __be64 value)
{
	out_be64(addr, be64_to_cpu(value));
}

__rust_helper u64 rust_ext_in_be64(const void __iomem *addr)
{
	return in_be64(addr);
}
