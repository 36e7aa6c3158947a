# SPDX-License-Identifier: GPL-2.0
#
# The devices of this QEMU: the pseries machine, which brings its VIO bus, interrupt
# controllers, PCI host bridge and memory that can be plugged, and virtio-net to compare with.
CONFIG_PSERIES=y
CONFIG_SPAPR_RNG=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_NET=y
