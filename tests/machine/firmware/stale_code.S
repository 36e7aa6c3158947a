/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Writes a function into the first DIMM and calls it, in every second pass: in
 * the others there is none, so that it can be exchanged. Each function returns
 * another number.
 *
 * Results: what the function returned, what it should have.
 */
#include "firmware.h"

#define LI_R3		0x38600000	/* li r3, … */
#define BLR		0x4e800020
#define NUMBER		0x100

	entry
	passes	3
	andi.	4, 3, 1
	beq	end

	ori	14, 3, NUMBER
	li64	15, DIMM
	li64	4, LI_R3
	or	4, 4, 14
	stw	4, 0(15)
	li64	4, BLR
	stw	4, 4(15)
	dcbst	0, 15
	sync
	icbi	0, 15
	isync

	mtctr	15
	bctrl
	keep	3, 0
	keep	14, 1
end:	done
