// SPDX-License-Identifier: GPL-2.0
/*
 * Network devices; their transmit queues are in queue.c.
 */
#include <linux/bottom_half.h>
#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>

#include "helpers.h"

__rust_helper void rust_ext_netdev_hold(struct net_device *dev)
{
	netdev_hold(dev, NULL, GFP_ATOMIC);
}

__rust_helper void rust_ext_netdev_put(struct net_device *dev)
{
	netdev_put(dev, NULL);
}

__rust_helper void rust_ext_eth_hw_addr_set(struct net_device *dev, const u8 *addr)
{
	eth_hw_addr_set(dev, addr);
}

__rust_helper u64 rust_ext_netdev_vlan_features_check(struct sk_buff *skb, u64 features)
{
	return vlan_features_check(skb, features);
}

__rust_helper void rust_ext_assert_rtnl(void)
{
	ASSERT_RTNL();
}

__rust_helper void rust_ext_local_bh_disable(void)
{
	local_bh_disable();
}

__rust_helper void rust_ext_local_bh_enable(void)
{
	local_bh_enable();
}
