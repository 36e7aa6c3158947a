# SPDX-License-Identifier: GPL-2.0
# Builds the modules for the kernel in KDIR: a tree that was built with
# CONFIG_RUST=y by the rustc used here.
KDIR ?= /lib/modules/$(shell uname -r)/build
ARCH ?= powerpc

# The C compiler has to be the kernel's, too; for clang, kbuild wants to be told.
clang := $(shell sed -n 's/^CONFIG_CLANG_VERSION=\([0-9]*\)[0-9]\{4\}$$/\1/p' \
		 $(KDIR)/include/config/auto.conf)
ifneq ($(clang),)
LLVM ?= $(if $(shell command -v clang-$(clang)),-$(clang),1)
endif

modules modules_install clean:
	$(MAKE) -C $(KDIR) M=$(CURDIR) ARCH=$(ARCH) $(if $(LLVM),LLVM=$(LLVM)) $@

.DEFAULT_GOAL := modules
.PHONY: modules modules_install clean
