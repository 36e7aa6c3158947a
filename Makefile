# SPDX-License-Identifier: GPL-2.0
# Builds the module for the kernel in KDIR: a tree that was built with
# CONFIG_RUST=y and the rustc used here.
KDIR ?= /lib/modules/$(shell uname -r)/build

modules modules_install clean:
	$(MAKE) -C $(KDIR) M=$(CURDIR) ARCH=powerpc $@

.DEFAULT_GOAL := modules
.PHONY: modules modules_install clean
