// SPDX-License-Identifier: GPL-2.0
/*
 * Socket buffers.
 */
#include <linux/if_vlan.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>

#include "helpers.h"

__rust_helper bool rust_ext_skb_frags_readable(const struct sk_buff *skb)
{
	return skb_frags_readable(skb);
}

__rust_helper u64 rust_ext_skb_frag_phys(const skb_frag_t *frag)
{
	return skb_frag_phys(frag);
}

__rust_helper int rust_ext_skb_linearize(struct sk_buff *skb)
{
	return skb_linearize(skb);
}

__rust_helper void rust_ext_skb_tx_timestamp(struct sk_buff *skb)
{
	skb_tx_timestamp(skb);
}

__rust_helper struct sk_buff *rust_ext_skb_alloc(struct net_device *dev, u32 len)
{
	return __netdev_alloc_skb_ip_align(dev, len, GFP_KERNEL | __GFP_NOWARN);
}

__rust_helper void rust_ext_vlan_hwaccel_put_tag(struct sk_buff *skb, u16 tci)
{
	__vlan_hwaccel_put_tag(skb, htons(ETH_P_8021Q), tci);
}

__rust_helper void rust_ext_napi_gro_receive(struct napi_struct *napi,
					     struct sk_buff *skb)
{
	napi_gro_receive(napi, skb);
}
