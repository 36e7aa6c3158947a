/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What all firmwares share
 *
 * QEMU loads a firmware at address 0 and enters it at 0x100, on one processor,
 * untranslated and without an exception handler: an access to an address that
 * nobody has ends the test. A reset loads and enters it again; the rest of RAM
 * stays as it is, so a firmware that is entered several times makes one pass
 * each time.
 *
 * r30 and r31 belong to the macros here, all other registers to the firmware.
 * hcall takes its arguments from r4 on and leaves its results there; r3 is the
 * return code.
 */
#ifndef MACHINE_FIRMWARE_H
#define MACHINE_FIRMWARE_H

/*
 * Memory that tests/src/machine reads: the number of passes that are done, then
 * what the firmware keeps. The page behind is the firmware's own.
 */
#define RESULTS		0x8000
#define SCRATCH		0x9000

/* The first DIMM, in a machine with 1 GiB of memory at boot */
#define DIMM		0x40000000

/* Register window of the first adapter */
#define ADAPTER		0x1f0000000000

/* The first interrupt source of the first adapter */
#define ADAPTER_SOURCE	0x2000

/*
 * Each interrupt source has two pages of 64 KiB in the interrupt controller
 * (XIVE). Loads from the second say and change whether it is pending: this one
 * only says.
 */
#define ESB_PAGE(source)	(0x6010000010000 + ((source) << 17))
#define ESB_GET			0x800
#define ESB_ON			0xc00

	.macro	li64 reg, value
	lis	\reg, ((\value) >> 48) & 0xffff
	ori	\reg, \reg, ((\value) >> 32) & 0xffff
	sldi	\reg, \reg, 32
	oris	\reg, \reg, ((\value) >> 16) & 0xffff
	ori	\reg, \reg, (\value) & 0xffff
	.endm

	/* The first instruction: 64-bit mode */
	.macro	entry
	.org	0x100
	.globl	_start
_start:
	mfmsr	30
	li	31, 1
	rldimi	30, 31, 63, 0
	mtmsrd	30
	li64	30, RESULTS
	.endm

	/* Number of passes that are done */
	.macro	passes reg
	ld	\reg, 0(30)
	.endm

	/* Keeps a register as a result, numbered from 0 */
	.macro	keep reg, number
	std	\reg, 8 + 8 * (\number)(30)
	.endm

	/* Ends a pass: what was kept is valid now */
	.macro	done
	ld	31, 0(30)
	addi	31, 31, 1
	lwsync
	std	31, 0(30)
	b	.
	.endm

	.macro	hcall opcode
	li64	3, \opcode
	sc	1
	.endm

#endif
