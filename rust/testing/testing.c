// SPDX-License-Identifier: GPL-2.0
/*
 * What the tests of the abstractions need of C.
 */
#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/io.h>
#include <linux/ip.h>
#include <linux/memory_hotplug.h>
#include <linux/mmzone.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/skbuff.h>
#include <linux/tcp.h>

#include "testing.h"

/* IEEE 802 local experimental Ethertype 1. */
#define TEST_ETHERTYPE	0x88b5

static atomic_t freed;

static void count_freed(struct sk_buff *skb)
{
	atomic_inc(&freed);
}

/*
 * A frame of @len bytes, the last @frag_len of them in a page; each byte behind
 * the header is its own offset modulo 256. It is counted when it is freed.
 */
struct sk_buff *rust_ext_test_skb(struct net_device *dev, u32 len, u32 frag_len)
{
	struct sk_buff *skb;
	struct page *page;
	struct ethhdr *eth;
	u32 i;

	if (frag_len > PAGE_SIZE || len < ETH_HLEN + frag_len)
		return NULL;

	skb = alloc_skb(len - frag_len, GFP_KERNEL);
	if (!skb)
		return NULL;
	for (i = 0; i < len - frag_len; i++)
		skb_put_u8(skb, i);
	eth = (struct ethhdr *)skb->data;
	eth_broadcast_addr(eth->h_dest);
	ether_addr_copy(eth->h_source, dev->dev_addr);
	eth->h_proto = htons(TEST_ETHERTYPE);

	if (frag_len) {
		page = alloc_page(GFP_KERNEL);
		if (!page) {
			kfree_skb(skb);
			return NULL;
		}
		for (i = 0; i < frag_len; i++)
			((u8 *)page_address(page))[i] = len - frag_len + i;
		skb_add_rx_frag(skb, 0, page, 0, frag_len, PAGE_SIZE);
	}

	skb->dev = dev;
	skb->protocol = htons(TEST_ETHERTYPE);
	skb_reset_mac_header(skb);
	skb_set_network_header(skb, ETH_HLEN);
	skb->destructor = count_freed;
	return skb;
}

/*
 * A frame of @len bytes with a TCP segment in IPv4, as the stack makes it for a
 * device: VLAN tag, checksum and segmentation are left to that.
 */
struct sk_buff *rust_ext_test_segmented_skb(struct net_device *dev, u32 len)
{
	const u32 headers = ETH_HLEN + sizeof(struct iphdr) +
			    sizeof(struct tcphdr);
	struct sk_buff *skb;
	struct tcphdr *tcp;
	struct iphdr *ip;

	if (len <= headers)
		return NULL;
	skb = rust_ext_test_skb(dev, len, 0);
	if (!skb)
		return NULL;
	eth_hdr(skb)->h_proto = htons(ETH_P_IP);
	skb->protocol = htons(ETH_P_IP);
	skb_set_transport_header(skb, ETH_HLEN + sizeof(struct iphdr));
	ip = ip_hdr(skb);
	memset(ip, 0, headers - ETH_HLEN);
	ip->version = 4;
	ip->ihl = sizeof(*ip) / 4;
	ip->protocol = IPPROTO_TCP;
	tcp = tcp_hdr(skb);
	tcp->doff = sizeof(*tcp) / 4;

	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_transport_header(skb) - skb->head;
	skb->csum_offset = offsetof(struct tcphdr, check);
	skb_shinfo(skb)->gso_type = SKB_GSO_TCPV4;
	skb_shinfo(skb)->gso_size = 1448;
	skb_shinfo(skb)->gso_segs = DIV_ROUND_UP(len - headers, 1448);
	__vlan_hwaccel_put_tag(skb, htons(ETH_P_8021Q), 0x2064);
	return skb;
}

u64 rust_ext_test_real_address(const struct sk_buff *skb)
{
	return virt_to_phys(skb->data);
}

/* How many test frames were freed since the last call. */
u32 rust_ext_test_freed(void)
{
	return atomic_xchg(&freed, 0);
}

/* Keeps the stack from sending frames of its own, which tests would count. */
void rust_ext_test_quiet(struct net_device *dev)
{
	dev->priv_flags |= IFF_NO_ADDRCONF;
	dev->flags &= ~IFF_MULTICAST;
}

/* Sends without a queueing discipline; takes the frame in any case. */
int rust_ext_test_xmit(struct net_device *dev, struct sk_buff *skb, u16 queue)
{
	return dev_direct_xmit(skb, queue);
}

int rust_ext_test_open(struct net_device *dev)
{
	int err;

	rtnl_lock();
	err = dev_open(dev, NULL);
	rtnl_unlock();
	return err;
}

void rust_ext_test_close(struct net_device *dev)
{
	rtnl_lock();
	dev_close(dev);
	rtnl_unlock();
}

int rust_ext_test_set_mtu(struct net_device *dev, u32 mtu)
{
	int err;

	rtnl_lock();
	err = dev_set_mtu(dev, mtu);
	rtnl_unlock();
	return err;
}

static struct rust_ext_test_received last;

static int test_rcv(struct sk_buff *skb, struct net_device *dev,
		    struct packet_type *pt, struct net_device *orig_dev)
{
	u8 byte;

	last.frames++;
	last.len = skb->len;
	last.vlan_present = skb_vlan_tag_present(skb);
	last.vlan_tci = last.vlan_present ? skb_vlan_tag_get(skb) : 0;
	last.checksum = skb->ip_summed;
	if (!skb_copy_bits(skb, 0, &byte, 1))
		last.first = byte;
	if (!skb_copy_bits(skb, skb->len - 1, &byte, 1))
		last.last = byte;
	kfree_skb(skb);
	return NET_RX_SUCCESS;
}

static struct packet_type test_packet_type = {
	.type = htons(TEST_ETHERTYPE),
	.func = test_rcv,
};

/* Starts or ends to count what @dev receives. */
void rust_ext_test_listen(struct net_device *dev, bool on)
{
	if (on) {
		memset(&last, 0, sizeof(last));
		test_packet_type.dev = dev;
		dev_add_pack(&test_packet_type);
	} else {
		dev_remove_pack(&test_packet_type);
	}
}

void rust_ext_test_received(struct rust_ext_test_received *received)
{
	*received = last;
}

u64 rust_ext_test_present_bytes(void)
{
	u64 pages = 0;
	int nid;

	for_each_online_node(nid)
		pages += node_present_pages(nid);
	return pages << PAGE_SHIFT;
}

u64 rust_ext_test_memory_end(void)
{
	u64 end = 0;
	int nid;

	for_each_online_node(nid)
		end = max_t(u64, end, node_end_pfn(nid));
	return end << PAGE_SHIFT;
}

bool rust_ext_test_online(u64 address)
{
	return pfn_to_online_page(PHYS_PFN(address));
}

u64 rust_ext_test_read(u64 address)
{
	return READ_ONCE(*(u64 *)phys_to_virt(address));
}

void rust_ext_test_write(u64 address, const void *data, size_t len)
{
	memcpy(phys_to_virt(address), data, len);
}
