/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sends FRAMES frames without waiting for anything. The bytes of a frame are all
 * the number of the pass.
 *
 * All pages of a queue are the same page: the frames are the same, and nobody
 * reads completions.
 *
 * Results: return codes of the calls, one after the other.
 */
#include "adapter.h"

#define FRAMES		32767		/* all that the largest queue takes */
#define FRAME		224		/* bytes: the most without descriptors */
#define SLOT		256
#define SLOTS		16		/* of a page */
#define SQ_PAGES	2048
#define RQ_PAGES	8

/* Receive queues of 128 slots, a send queue of 32768, all of SLOT bytes */
#define SIZES		0x0e06060601010101
/* Low latency, completions on request, three receive queues */
#define OPTIONS		0x0016410000000000
#define THRESHOLDS	0x0001000400000000

#define SQA		0x20		/* register: frames that are announced */

/* Requests to a queue pair, in block 0 */
#define INITIALIZED	0x0000020000000000
#define ENABLED		0x8000000000000000
#define READY_TO_SEND	0x0000050000000000

/* Work request: append a CRC, immediate data */
#define CONTROL		0x8200
#define AT_CONTROL	0x08
#define AT_LENGTH	0x0f
#define AT_DATA		0x20

	.macro	report
	std	3, 8(28)
	addi	28, 28, 8
	.endm

	.macro	register_queue queue, page, pages
	li	27, \pages
1:	register_page 20, 24, \queue, \page
	addic.	27, 27, -1
	bne	1b
	report				/* of the last page: the queue is complete */
	.endm

	.macro	alloc_cq
	mr	4, 20
	li	5, COMPLETION_QUEUE
	mr	6, 21			/* its event queue */
	li	7, 0
	li	8, 1			/* entries */
	hcall	H_ALLOC_HEA_RESOURCE
	report
	.endm

	.macro	request state
	li64	26, BLOCK
	li64	27, \state
	std	27, 0(26)
	mr	4, 20
	li	5, 0			/* block 0 */
	mr	6, 24
	li64	7, 0x8000000000000000	/* the control register */
	mr	8, 26
	hcall	H_MODIFY_HEA_QP
	report
	.endm

	entry
	li	20, HANDLE
	li64	28, RESULTS
	alloc_eq 20, AFFILIATED_EQ
	report
	mr	21, 4
	register_page 20, 21, 0, EVENTS
	report
	alloc_cq
	mr	22, 4
	register_page 20, 22, 0, COMPLETIONS
	report
	alloc_cq
	mr	23, 4
	register_page 20, 23, 0, COMPLETIONS
	report

	mr	4, 20
	li64	5, OPTIONS + QUEUE_PAIR
	mr	6, 22
	mr	7, 23
	mr	8, 21
	li	9, 0			/* token, protection domain */
	li64	10, SIZES
	li	11, 1			/* port */
	li64	12, THRESHOLDS
	hcall	H_ALLOC_HEA_RESOURCE
	report
	mr	24, 4
	mr	25, 10			/* its registers */
	register_queue 0, SENDS, SQ_PAGES
	register_queue 1, RECEIVES, RQ_PAGES
	register_queue 2, RECEIVES, RQ_PAGES
	register_queue 3, RECEIVES, RQ_PAGES
	request	INITIALIZED
	request	INITIALIZED + ENABLED
	request	READY_TO_SEND + ENABLED

	/* The work requests */
	li64	30, RESULTS
	passes	29
	addi	29, 29, 1
	li64	26, SENDS
	li	27, SLOTS
	li	8, CONTROL - 0x10000
	li	9, FRAME
fill:	sth	8, AT_CONTROL(26)
	stb	9, AT_LENGTH(26)
	li	10, FRAME
	mtctr	10
	addi	11, 26, AT_DATA - 1
byte:	stbu	29, 1(11)
	bdnz	byte
	addi	26, 26, SLOT
	addic.	27, 27, -1
	bne	fill

	/* sync: the adapter sees them before the doorbell */
	sync
	li	26, FRAMES
	std	26, SQA(25)
	li64	30, RESULTS
	done
