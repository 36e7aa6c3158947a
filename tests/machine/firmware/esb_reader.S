/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Reads one register over and over: the state of an interrupt source that is
 * off and stays so.
 *
 * One instruction makes 27 loads. QEMU lets a processor go between two
 * instructions only, so that whoever changes the memory map during one of these
 * loads meets the others of the same instruction with what the processor knows
 * of the old map.
 *
 * Results: instructions, instructions of which a load was wrong.
 */
#include "firmware.h"

#define GET_WORDS	5	/* into this register and all that follow */

	entry
	li64	4, ESB_PAGE(ADAPTER_SOURCE) + ESB_GET
	lwz	3, 0(4)			/* what each load returns */
	li	1, 0			/* instructions */
	li	2, 0			/* wrong ones */

again:	lmw	GET_WORDS, 0(4)
	li	0, 0
	.set	word, GET_WORDS
	.rept	32 - GET_WORDS
	xor	word, word, 3
	or	0, 0, word
	.set	word, word + 1
	.endr
	addic	5, 0, -1		/* carries unless it is 0 */
	addze	2, 2
	addi	1, 1, 1
	li64	30, RESULTS
	keep	1, 0
	keep	2, 1
	b	again
