// SPDX-License-Identifier: GPL-2.0
/*
 * Transmit queues.
 */
#include <linux/netdevice.h>
#include <net/netdev_queues.h>

#include "helpers.h"

__rust_helper void rust_ext_netif_tx_stop_queue(struct netdev_queue *txq)
{
	netif_tx_stop_queue(txq);
}

__rust_helper void rust_ext_netdev_tx_reset_queue(struct netdev_queue *txq)
{
	netdev_tx_reset_queue(txq);
}

__rust_helper void rust_ext_netif_tx_lock_bh(struct netdev_queue *txq)
{
	__netif_tx_lock_bh(txq);
}

__rust_helper void rust_ext_netif_tx_unlock_bh(struct netdev_queue *txq)
{
	__netif_tx_unlock_bh(txq);
}

__rust_helper int
rust_ext_netif_txq_try_stop(struct netdev_queue *txq,
			    bool (*has_room)(void *context), void *context)
{
	return netif_txq_try_stop(txq, (int)has_room(context), 1);
}

__rust_helper int
rust_ext_netif_txq_completed_wake(struct netdev_queue *txq,
				  unsigned int packets, unsigned int bytes,
				  bool has_room, const bool *held)
{
	return __netif_txq_completed_wake(txq, packets, bytes, (int)has_room, 1,
					  READ_ONCE(*held));
}

__rust_helper bool
rust_ext_netdev_tx_sent_queue(struct netdev_queue *txq, unsigned int bytes,
			      bool xmit_more)
{
	return __netdev_tx_sent_queue(txq, bytes, xmit_more);
}

__rust_helper bool rust_ext_netdev_xmit_more(void)
{
	return netdev_xmit_more();
}

__rust_helper bool rust_ext_netif_xmit_stopped(const struct netdev_queue *txq)
{
	return netif_xmit_stopped(txq);
}
