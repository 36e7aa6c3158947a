/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Calls of the adapter and of the platform
 *
 * Each leaves its return code in r3 and its results from r4 on. Arguments that
 * are registers must not be among r3 to r8 where a later one is meant.
 */
#ifndef MACHINE_ADAPTER_H
#define MACHINE_ADAPTER_H

#include "firmware.h"

/* The adapter that every machine has */
#define HANDLE			1

/* Pages for firmwares that use the adapter */
#define EVENTS			0x100000	/* an event queue */
#define BLOCK			0x101000	/* control blocks */
#define COMPLETIONS		0x102000	/* completion queues */
#define RECEIVES		0x103000	/* receive queues */
#define SENDS			0x104000	/* the send queue */
#define TREE			0x200000	/* the device tree */
#define TREE_SIZE		0x40000

#define H_FREE_RESOURCE		0x164
#define H_QUERY_HEA		0x258
#define H_MODIFY_HEA_QP		0x250
#define H_REGISTER_HEA_RPAGES	0x26c
#define H_ALLOC_HEA_RESOURCE	0x278
#define H_INT_SET_SOURCE_CONFIG	0x3ac
#define H_INT_SET_QUEUE_CONFIG	0x3b8
#define H_RTAS			0xf000
#define H_CAS			0xf002

/* Kinds of what is allocated, in the second argument */
#define QUEUE_PAIR		1
#define COMPLETION_QUEUE	2
#define AFFILIATED_EQ		0x0100000000000003
#define NOTIFICATION_EQ		0x8100000000000003

	/* Negotiates the options of the platform: XIVE, and DIMMs that go */
	.macro	cas
	b	1f
	.balign	8
0:	.long	0xffff0000, 0x004e0000	/* POWER9 */
	.long	0, 0xffffffff
	.byte	4			/* option vectors, less one */
	.byte	0, 0x20, 0, 0, 0, 0, 0, 0
	.byte	25			/* bytes of the fifth, less one */
	.fill	5, 1, 0
	.byte	0x04			/* events of their own for that */
	.fill	16, 1, 0
	.byte	0x40			/* XIVE exploitation */
	.fill	3, 1, 0
	.balign	8
1:	li	4, 0b@l
	li64	5, TREE
	li64	6, TREE_SIZE
	hcall	H_CAS
	.endm

	/* An event queue of one page: handle in r4, interrupt source in r9 */
	.macro	alloc_eq adapter, kind
	mr	4, \adapter
	li64	5, \kind
	li	6, 1			/* entries */
	hcall	H_ALLOC_HEA_RESOURCE
	clrldi	9, 9, 32
	.endm

	/* One page of 4 KiB for a queue (0: the only one, or the send queue) */
	.macro	register_page adapter, resource, queue, page
	mr	4, \adapter
	li	5, \queue
	mr	6, \resource
	li64	7, \page
	li	8, 1
	hcall	H_REGISTER_HEA_RPAGES
	.endm

#endif
