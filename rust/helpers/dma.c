// SPDX-License-Identifier: GPL-2.0
/*
 * The entitlement that mappings for DMA are charged to.
 */
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
