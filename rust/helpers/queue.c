// SPDX-License-Identifier: GPL-2.0
/*
 * Transmit queues.
 */
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <net/netdev_queues.h>

#include "helpers.h"

void rust_ext_tx_start_all(struct net_device *dev)
{
	netif_tx_start_all_queues(dev);
}

void rust_ext_tx_stop_all(struct net_device *dev)
{
	netif_tx_stop_all_queues(dev);
}

void rust_ext_tx_wake_all(struct net_device *dev)
{
	netif_tx_wake_all_queues(dev);
}

void rust_ext_tx_disable(struct net_device *dev)
{
	netif_tx_disable(dev);
}

static struct netdev_queue *tx_queue(struct net_device *dev, u16 queue)
{
	if (WARN_ON_ONCE(queue >= dev->num_tx_queues))
		return NULL;
	return netdev_get_tx_queue(dev, queue);
}

void rust_ext_tx_stop(struct net_device *dev, u16 queue)
{
	struct netdev_queue *txq = tx_queue(dev, queue);

	if (txq)
		netif_tx_stop_queue(txq);
}

void rust_ext_tx_start(struct net_device *dev, u16 queue)
{
	struct netdev_queue *txq = tx_queue(dev, queue);

	if (txq)
		netif_tx_start_queue(txq);
}

void rust_ext_tx_wake(struct net_device *dev, u16 queue)
{
	struct netdev_queue *txq = tx_queue(dev, queue);

	if (txq)
		netif_tx_wake_queue(txq);
}

bool rust_ext_tx_stopped(struct net_device *dev, u16 queue)
{
	struct netdev_queue *txq = tx_queue(dev, queue);

	return txq && netif_tx_queue_stopped(txq);
}

void rust_ext_tx_reset(struct net_device *dev, u16 queue)
{
	struct netdev_queue *txq = tx_queue(dev, queue);

	if (txq)
		netdev_tx_reset_queue(txq);
}

/* Returns false, and locks nothing, if there is no such queue. */
bool rust_ext_tx_lock(struct net_device *dev, u16 queue)
{
	if (queue >= dev->num_tx_queues)
		return false;
	__netif_tx_lock_bh(netdev_get_tx_queue(dev, queue));
	return true;
}

void rust_ext_tx_unlock(struct net_device *dev, u16 queue)
{
	__netif_tx_unlock_bh(netdev_get_tx_queue(dev, queue));
}

/* Returns whether the hardware must be told now. */
bool rust_ext_tx_sent(struct net_device *dev, u16 queue, struct sk_buff *skb)
{
	skb_tx_timestamp(skb);
	return __netdev_tx_sent_queue(netdev_get_tx_queue(dev, queue),
				      skb->len, netdev_xmit_more());
}

/*
 * For a frame that the driver has copied: frees it. It isn't counted as in
 * flight. Returns whether the hardware must be told now.
 */
bool rust_ext_tx_copied(struct net_device *dev, u16 queue, struct sk_buff *skb)
{
	skb_tx_timestamp(skb);
	/* Netconsole sends with interrupts off; all others may free at once. */
	if (unlikely(in_hardirq() || irqs_disabled()))
		dev_consume_skb_irq(skb);
	else
		consume_skb(skb);
	return !netdev_xmit_more() ||
	       netif_xmit_stopped(netdev_get_tx_queue(dev, queue));
}

bool rust_ext_tx_more(void)
{
	return netdev_xmit_more();
}

void rust_ext_tx_completed(struct net_device *dev, u16 queue, u32 packets,
			   u32 bytes, bool may_wake)
{
	struct netdev_queue *txq = tx_queue(dev, queue);

	if (!txq)
		return;
	netdev_tx_completed_queue(txq, packets, bytes);
	/* Pairs with the barrier between stopping and looking again. */
	smp_mb();
	if (may_wake && netif_tx_queue_stopped(txq))
		netif_tx_wake_queue(txq);
}
