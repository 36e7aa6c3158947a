// SPDX-License-Identifier: GPL-2.0
/*
 * NAPI instances.
 */
#include <linux/netdevice.h>
#include <linux/slab.h>

#include "helpers.h"

struct rust_ext_napi {
	struct napi_struct napi;
	void *context;
};

const size_t rust_ext_napi_context_offset =
	offsetof(struct rust_ext_napi, context);

struct rust_ext_napi *
rust_ext_napi_add(struct net_device *dev,
		  int (*poll)(struct napi_struct *napi, int budget),
		  void *context)
{
	struct rust_ext_napi *n;

	n = kzalloc_obj(*n);
	if (!n)
		return NULL;

	n->context = context;
	netif_napi_add(dev, &n->napi, poll);
	return n;
}

void rust_ext_napi_del(struct rust_ext_napi *n)
{
	/* Waits for RCU readers of the instance. */
	netif_napi_del(&n->napi);
	kfree(n);
}

void rust_ext_napi_enable(struct rust_ext_napi *n)
{
	napi_enable(&n->napi);
}

void rust_ext_napi_disable(struct rust_ext_napi *n)
{
	napi_disable(&n->napi);
}

void rust_ext_napi_schedule(struct rust_ext_napi *n)
{
	napi_schedule(&n->napi);
}

bool rust_ext_napi_complete(struct napi_struct *napi, int done)
{
	return napi_complete_done(napi, done);
}
