// SPDX-License-Identifier: GPL-2.0
/*
 * VIO bus, device tree, hypercalls and registers.
 */
#include <linux/err.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/of.h>
#include <linux/slab.h>
#include <linux/string_helpers.h>
#include <asm/hvcall.h>
#include <asm/vio.h>

#include "helpers.h"

struct rust_ext_vio_driver {
	struct vio_driver driver;
};

struct rust_ext_vio_driver *
rust_ext_vio_register(const char *name, const struct vio_device_id *ids,
		      const struct rust_ext_vio_callbacks *callbacks,
		      struct module *owner)
{
	struct rust_ext_vio_driver *drv;
	int err;

	drv = kzalloc_obj(*drv);
	if (!drv)
		return ERR_PTR(-ENOMEM);

	drv->driver.name = name;
	drv->driver.id_table = ids;
	drv->driver.probe = callbacks->probe;
	drv->driver.remove = callbacks->remove;
	drv->driver.shutdown = callbacks->shutdown;
	drv->driver.get_desired_dma = callbacks->get_desired_dma;

	err = __vio_register_driver(&drv->driver, owner, name);
	if (err) {
		kfree(drv);
		return ERR_PTR(err);
	}
	return drv;
}

void rust_ext_vio_unregister(struct rust_ext_vio_driver *drv)
{
	vio_unregister_driver(&drv->driver);
	kfree(drv);
}

struct device *rust_ext_vio_device(struct vio_dev *vdev)
{
	return &vdev->dev;
}

u32 rust_ext_vio_unit_address(const struct vio_dev *vdev)
{
	return vdev->unit_address;
}

u32 rust_ext_vio_irq(const struct vio_dev *vdev)
{
	return vdev->irq;
}

struct device_node *rust_ext_vio_of_node(struct vio_dev *vdev)
{
	return of_node_get(vdev->dev.of_node);
}

struct device_node *rust_ext_of_node_get(struct device_node *node)
{
	return of_node_get(node);
}

void rust_ext_of_node_put(struct device_node *node)
{
	of_node_put(node);
}

const char *rust_ext_of_name(const struct device_node *node)
{
	return kbasename(of_node_full_name(node));
}

bool rust_ext_of_is_type(const struct device_node *node, const char *type)
{
	return of_node_is_type(node, type);
}

long rust_ext_hcall9(unsigned long opcode, const u64 *args, u64 *rets)
{
	unsigned long ret[PLPAR_HCALL9_BUFSIZE] = { };
	long status;
	int i;

	status = plpar_hcall9(opcode, ret, args[0], args[1], args[2], args[3],
			      args[4], args[5], args[6], args[7], args[8]);
	for (i = 0; i < PLPAR_HCALL9_BUFSIZE; i++)
		rets[i] = ret[i];
	return status;
}

u32 rust_ext_long_busy_msecs(long status)
{
	if (!H_IS_LONG_BUSY(status))
		return 0;
	return get_longbusy_msecs(status);
}

/* Registers only: refuses a range with system RAM in it. */
void __iomem *rust_ext_ioremap(u64 base, size_t len)
{
	if (region_intersects(base, len, IORESOURCE_SYSTEM_RAM,
			      IORES_DESC_NONE) != REGION_DISJOINT)
		return NULL;
	return ioremap(base, len);
}

void rust_ext_iounmap(void __iomem *addr)
{
	iounmap(addr);
}

void rust_ext_out_be64(void __iomem *addr, __be64 value)
{
	out_be64(addr, be64_to_cpu(value));
}

u64 rust_ext_in_be64(const void __iomem *addr)
{
	return in_be64(addr);
}
