// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings for DMA, and the entitlement that they are charged to.
 */
#include <linux/dma-mapping.h>
#include <linux/of.h>
#include <asm/firmware.h>
#include <asm/vio.h>

#include "helpers.h"

/* As vio_cmo_bus_probe() decides. */
bool rust_ext_vio_cmo_charged(const struct vio_dev *vdev)
{
	return firmware_has_feature(FW_FEATURE_CMO) &&
	       of_property_present(vdev->dev.of_node, "ibm,my-dma-window");
}

size_t rust_ext_vio_cmo_entitled(const struct vio_dev *vdev)
{
	return READ_ONCE(vdev->cmo.entitled);
}

size_t rust_ext_vio_cmo_allocated(const struct vio_dev *vdev)
{
	return READ_ONCE(vdev->cmo.allocated);
}

size_t rust_ext_vio_cmo_desired(const struct vio_dev *vdev)
{
	return READ_ONCE(vdev->cmo.desired);
}

void rust_ext_vio_cmo_set_desired(struct vio_dev *vdev, size_t desired)
{
	vio_cmo_set_dev_desired(vdev, desired);
}

/* The same in rust/kernel/sys.rs. */
static_assert(DMA_BIDIRECTIONAL == 0);
static_assert(DMA_TO_DEVICE == 1);
static_assert(DMA_FROM_DEVICE == 2);
static_assert(RUST_EXT_DMA_ERROR == DMA_MAPPING_ERROR);

u64 rust_ext_dma_map(struct device *dev, u64 address, size_t len, u32 direction)
{
	/* A refusal is counted by the bus; callers have another way. */
	return dma_map_phys(dev, address, len, direction, DMA_ATTR_NO_WARN);
}

void rust_ext_dma_unmap(struct device *dev, u64 handle, size_t len,
			u32 direction)
{
	dma_unmap_phys(dev, handle, len, direction, DMA_ATTR_NO_WARN);
}
