// SPDX-License-Identifier: GPL-2.0
/*
 * NAPI instances.
 */
#include <linux/err.h>
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
rust_ext_napi_add(struct net_device *dev, u16 index,
		  int (*poll)(struct napi_struct *napi, int budget),
		  void *context)
{
	struct rust_ext_napi *n;

	if (index >= dev->num_napi_configs)
		return ERR_PTR(-EINVAL);
	n = kzalloc_obj(*n);
	if (!n)
		return ERR_PTR(-ENOMEM);

	n->context = context;
	netif_napi_add_config(dev, &n->napi, poll, index);
	return n;
}

static void set_queues(struct net_device *dev, u16 queue,
		       struct napi_struct *napi)
{
	netif_queue_set_napi(dev, queue, NETDEV_QUEUE_TYPE_RX, napi);
	netif_queue_set_napi(dev, queue, NETDEV_QUEUE_TYPE_TX, napi);
}

/* Returns false, and changes nothing, if there is no such queue. */
bool rust_ext_napi_link(struct rust_ext_napi *n, u16 queue, u32 irq)
{
	struct net_device *dev = n->napi.dev;

	if (queue >= dev->num_rx_queues || queue >= dev->num_tx_queues)
		return false;
	netif_napi_set_irq(&n->napi, irq);
	set_queues(dev, queue, &n->napi);
	return true;
}

void rust_ext_napi_unlink(struct rust_ext_napi *n, u16 queue)
{
	set_queues(n->napi.dev, queue, NULL);
	netif_napi_set_irq(&n->napi, -1);
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
