// SPDX-License-Identifier: GPL-2.0
/*
 * Socket buffers. A call costs as much as a dozen loads, so the functions of
 * the packet path do all there is to do for one packet.
 */
#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/io.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>

#include "helpers.h"

u32 rust_ext_skb_segments(const struct sk_buff *skb,
			  struct rust_ext_segment *segments)
{
	const struct skb_shared_info *shinfo = skb_shinfo(skb);
	struct rust_ext_segment *seg = segments;
	int i;

	if (skb_has_frag_list(skb) || !skb_frags_readable(skb) ||
	    shinfo->nr_frags >= RUST_EXT_MAX_SEGMENTS)
		return 0;

	if (skb_headlen(skb)) {
		seg->address = virt_to_phys(skb->data);
		seg->len = skb_headlen(skb);
		seg++;
	}
	for (i = 0; i < shinfo->nr_frags; i++, seg++) {
		const skb_frag_t *frag = &shinfo->frags[i];

		seg->address = page_to_phys(skb_frag_page(frag)) +
			       skb_frag_off(frag);
		seg->len = skb_frag_size(frag);
	}
	return seg - segments;
}

__rust_helper int rust_ext_skb_linearize(struct sk_buff *skb)
{
	return skb_linearize(skb);
}

__rust_helper struct sk_buff *rust_ext_skb_alloc(struct net_device *dev, u32 len)
{
	return __netdev_alloc_skb_ip_align(dev, len, GFP_KERNEL | __GFP_NOWARN);
}

static void receive(struct napi_struct *napi, struct sk_buff *skb,
		    const struct rust_ext_rx_meta *meta)
{
	skb->protocol = eth_type_trans(skb, napi->dev);
	switch (meta->checksum_kind) {
	case RUST_EXT_CHECKSUM_UNNECESSARY:
		skb->ip_summed = CHECKSUM_UNNECESSARY;
		break;
	case RUST_EXT_CHECKSUM_COMPLETE:
		skb->csum = csum_unfold((__force __sum16)meta->checksum);
		skb->ip_summed = CHECKSUM_COMPLETE;
		break;
	default:
		skb_checksum_none_assert(skb);
	}
	if (meta->vlan_present)
		__vlan_hwaccel_put_tag(skb, htons(ETH_P_8021Q), meta->vlan_tci);
	skb_record_rx_queue(skb, meta->queue);
	napi_gro_receive(napi, skb);
}

/* Takes the buffer in any case. */
int rust_ext_skb_receive(struct napi_struct *napi, struct sk_buff *skb,
			 const struct rust_ext_rx_meta *meta)
{
	if (meta->len < ETH_HLEN || meta->len > skb_tailroom(skb)) {
		dev_kfree_skb_any(skb);
		return -EMSGSIZE;
	}
	__skb_put(skb, meta->len);
	receive(napi, skb, meta);
	return 0;
}

int rust_ext_skb_receive_copy(struct napi_struct *napi, const void *data,
			      const struct rust_ext_rx_meta *meta)
{
	struct sk_buff *skb;

	if (meta->len < ETH_HLEN)
		return -EMSGSIZE;
	skb = napi_alloc_skb(napi, meta->len);
	if (!skb)
		return -ENOMEM;
	__skb_put_data(skb, data, meta->len);
	receive(napi, skb, meta);
	return 0;
}
