// SPDX-License-Identifier: GPL-2.0
/*
 * Network devices; their transmit queues are in queue.c.
 */
#include <linux/align.h>
#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/jiffies.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/skbuff.h>
#include <linux/workqueue.h>
#include <net/netdev_queues.h>

#include "helpers.h"

static_assert(RUST_EXT_F_SG == NETIF_F_SG);
static_assert(RUST_EXT_F_IP_CSUM == NETIF_F_IP_CSUM);
static_assert(RUST_EXT_F_HW_CSUM == NETIF_F_HW_CSUM);
static_assert(RUST_EXT_F_IPV6_CSUM == NETIF_F_IPV6_CSUM);
static_assert(RUST_EXT_F_HIGHDMA == NETIF_F_HIGHDMA);
static_assert(RUST_EXT_F_VLAN_TX == NETIF_F_HW_VLAN_CTAG_TX);
static_assert(RUST_EXT_F_VLAN_RX == NETIF_F_HW_VLAN_CTAG_RX);
static_assert(RUST_EXT_F_VLAN_FILTER == NETIF_F_HW_VLAN_CTAG_FILTER);
static_assert(RUST_EXT_F_GRO == NETIF_F_GRO);
static_assert(RUST_EXT_F_TSO == NETIF_F_TSO);
static_assert(RUST_EXT_F_TSO_ECN == NETIF_F_TSO_ECN);
static_assert(RUST_EXT_F_TSO6 == NETIF_F_TSO6);
static_assert(RUST_EXT_F_RXHASH == NETIF_F_RXHASH);
static_assert(RUST_EXT_F_RXCSUM == NETIF_F_RXCSUM);

/* The private area of the net_device; the Rust data follow. */
struct rust_ext_netdev {
	struct net_device_ops ops;
	struct net_device *dev;
	void (*run)(struct net_device *dev, u32 events);
	void (*get_stats64)(struct net_device *dev,
			    struct rust_ext_stats64 *stats);
	void (*rx_queue_stats)(struct net_device *dev, u16 queue,
			       struct rust_ext_rx_queue_stats *stats);
	void (*tx_queue_stats)(struct net_device *dev, u16 queue,
			       struct rust_ext_tx_queue_stats *stats);
	struct work_struct deferred;
	struct delayed_work later;
	atomic_t events;
	atomic_t later_events;
	u8 data[] __aligned(NETDEV_ALIGN);
};

const size_t rust_ext_netdev_data_offset =
	offsetof(struct net_device, priv) +
	offsetof(struct rust_ext_netdev, data);

static void run_deferred(struct work_struct *work)
{
	struct rust_ext_netdev *p =
		container_of(work, struct rust_ext_netdev, deferred);

	p->run(p->dev, atomic_xchg(&p->events, 0));
}

static void run_later(struct work_struct *work)
{
	struct rust_ext_netdev *p = container_of(to_delayed_work(work),
						 struct rust_ext_netdev, later);

	rust_ext_netdev_defer(p->dev, atomic_xchg(&p->later_events, 0));
}

static void get_stats64(struct net_device *dev, struct rtnl_link_stats64 *to)
{
	struct rust_ext_netdev *p = netdev_priv(dev);
	struct rust_ext_stats64 from = { };

	p->get_stats64(dev, &from);
	to->rx_packets = from.rx_packets;
	to->tx_packets = from.tx_packets;
	to->rx_bytes = from.rx_bytes;
	to->tx_bytes = from.tx_bytes;
	to->rx_errors = from.rx_errors;
	to->tx_errors = from.tx_errors;
	to->rx_dropped = from.rx_dropped;
	to->tx_dropped = from.tx_dropped;
	to->multicast = from.multicast;
	to->rx_length_errors = from.rx_length_errors;
	to->rx_crc_errors = from.rx_crc_errors;
	to->rx_frame_errors = from.rx_frame_errors;
	to->rx_fifo_errors = from.rx_fifo_errors;
	to->rx_missed_errors = from.rx_missed_errors;
	to->rx_over_errors = from.rx_over_errors;
}

static void get_queue_stats_rx(struct net_device *dev, int queue,
			       struct netdev_queue_stats_rx *to)
{
	struct rust_ext_netdev *p = netdev_priv(dev);
	struct rust_ext_rx_queue_stats from = { };

	p->rx_queue_stats(dev, queue, &from);
	to->packets = from.packets;
	to->bytes = from.bytes;
	to->alloc_fail = from.alloc_fail;
}

static void get_queue_stats_tx(struct net_device *dev, int queue,
			       struct netdev_queue_stats_tx *to)
{
	struct rust_ext_netdev *p = netdev_priv(dev);
	struct rust_ext_tx_queue_stats from = { };

	p->tx_queue_stats(dev, queue, &from);
	to->packets = from.packets;
	to->bytes = from.bytes;
	to->stop = from.stop;
}

/* What queues have counted that are not in use now. */
static void get_base_stats(struct net_device *dev,
			   struct netdev_queue_stats_rx *rx,
			   struct netdev_queue_stats_tx *tx)
{
	rx->packets = 0;
	rx->bytes = 0;
	rx->alloc_fail = 0;
	tx->packets = 0;
	tx->bytes = 0;
	tx->stop = 0;
	netdev_stat_queue_sum(dev, dev->real_num_rx_queues, dev->num_rx_queues,
			      rx, dev->real_num_tx_queues, dev->num_tx_queues,
			      tx);
}

static const struct netdev_stat_ops stat_ops = {
	.get_queue_stats_rx	= get_queue_stats_rx,
	.get_queue_stats_tx	= get_queue_stats_tx,
	.get_base_stats		= get_base_stats,
};

struct net_device *
rust_ext_netdev_alloc(size_t data_len, size_t data_align, u16 txqs, u16 rxqs,
		      struct device *parent,
		      const struct rust_ext_netdev_callbacks *cb)
{
	struct rust_ext_netdev *p;
	struct net_device *dev;

	if (data_align > NETDEV_ALIGN || data_len > INT_MAX / 2)
		return NULL;

	dev = alloc_etherdev_mqs(sizeof(*p) + data_len, txqs, rxqs);
	if (!dev)
		return NULL;
	if (parent)
		SET_NETDEV_DEV(dev, parent);

	p = netdev_priv(dev);
	p->dev = dev;
	p->run = cb->deferred;
	INIT_WORK(&p->deferred, run_deferred);
	INIT_DELAYED_WORK(&p->later, run_later);

	p->ops.ndo_open = cb->open;
	p->ops.ndo_stop = cb->stop;
	p->ops.ndo_start_xmit = cb->start_xmit;
	p->ops.ndo_features_check = cb->features_check;
	p->ops.ndo_fix_features = cb->fix_features;
	p->ops.ndo_set_features = cb->set_features;
	p->ops.ndo_set_rx_mode_async = cb->set_rx_mode;
	p->ops.ndo_set_mac_address = cb->set_mac_address;
	p->ops.ndo_change_mtu = cb->change_mtu;
	p->ops.ndo_tx_timeout = cb->tx_timeout;
	if (cb->get_stats64) {
		p->get_stats64 = cb->get_stats64;
		p->ops.ndo_get_stats64 = get_stats64;
	}
	p->ops.ndo_vlan_rx_add_vid = cb->vlan_rx_add_vid;
	p->ops.ndo_vlan_rx_kill_vid = cb->vlan_rx_kill_vid;
	p->ops.ndo_validate_addr = eth_validate_addr;
	dev->netdev_ops = &p->ops;
	if (cb->rx_queue_stats && cb->tx_queue_stats) {
		p->rx_queue_stats = cb->rx_queue_stats;
		p->tx_queue_stats = cb->tx_queue_stats;
		dev->stat_ops = &stat_ops;
	}

	if (cb->set_rx_mode)
		dev->priv_flags |= IFF_UNICAST_FLT;
	if (cb->set_mac_address)
		dev->priv_flags |= IFF_LIVE_ADDR_CHANGE;
	return dev;
}

/* Whether nobody but its owner refers to a device that isn't registered. */
bool rust_ext_netdev_unused(const struct net_device *dev)
{
	return !WARN_ON(netdev_refcnt_read(dev) != 1);
}

void rust_ext_netdev_free(struct net_device *dev)
{
	free_netdev(dev);
}

int rust_ext_netdev_register(struct net_device *dev)
{
	return register_netdev(dev);
}

void rust_ext_netdev_unregister(struct net_device *dev)
{
	unregister_netdev(dev);
}

/* Nothing deferred runs afterwards, nor can anything be deferred again. */
void rust_ext_netdev_stop_deferred(struct net_device *dev)
{
	struct rust_ext_netdev *p = netdev_priv(dev);

	disable_delayed_work_sync(&p->later);
	disable_work_sync(&p->deferred);
}

void rust_ext_netdev_defer(struct net_device *dev, u32 events)
{
	struct rust_ext_netdev *p = netdev_priv(dev);

	atomic_or(events, &p->events);
	queue_work(system_dfl_long_wq, &p->deferred);
}

void rust_ext_netdev_defer_after(struct net_device *dev, u32 events, u64 msecs)
{
	struct rust_ext_netdev *p = netdev_priv(dev);

	atomic_or(events, &p->later_events);
	queue_delayed_work(system_dfl_long_wq, &p->later,
			   msecs_to_jiffies(min(msecs, U32_MAX)));
}

void rust_ext_netdev_hold(struct net_device *dev)
{
	netdev_hold(dev, NULL, GFP_ATOMIC);
}

void rust_ext_netdev_put(struct net_device *dev)
{
	netdev_put(dev, NULL);
}

int rust_ext_netdev_set_name(struct net_device *dev, const char *name)
{
	if (strscpy(dev->name, name) < 0)
		return -ENAMETOOLONG;
	return 0;
}

/* A copy, as the name may change; @name has IFNAMSIZ bytes. */
void rust_ext_netdev_name(const struct net_device *dev, char *name)
{
	strscpy(name, netdev_name(dev), IFNAMSIZ);
}

void rust_ext_netdev_set_mac(struct net_device *dev, const u8 *addr)
{
	eth_hw_addr_set(dev, addr);
}

void rust_ext_netdev_random_mac(struct net_device *dev)
{
	eth_hw_addr_random(dev);
}

void rust_ext_netdev_mac(const struct net_device *dev, u8 *addr)
{
	ether_addr_copy(addr, dev->dev_addr);
}

int rust_ext_netdev_prepare_mac(struct net_device *dev, void *addr, u8 *mac)
{
	const struct sockaddr *sa = addr;
	int err;

	err = eth_prepare_mac_addr_change(dev, addr);
	if (err)
		return err;
	memcpy(mac, sa->sa_data, ETH_ALEN);
	return 0;
}

void rust_ext_netdev_commit_mac(struct net_device *dev, void *addr)
{
	eth_commit_mac_addr_change(dev, addr);
}

void rust_ext_netdev_set_mtu_range(struct net_device *dev, u32 mtu, u32 min,
				   u32 max)
{
	dev->mtu = mtu;
	dev->min_mtu = min;
	dev->max_mtu = max;
}

u32 rust_ext_netdev_mtu(const struct net_device *dev)
{
	return READ_ONCE(dev->mtu);
}

void rust_ext_netdev_commit_mtu(struct net_device *dev, u32 mtu)
{
	WRITE_ONCE(dev->mtu, mtu);
}

void rust_ext_netdev_set_features(struct net_device *dev, u64 features)
{
	dev->features = features;
}

void rust_ext_netdev_set_hw_features(struct net_device *dev, u64 features)
{
	dev->hw_features = features;
}

void rust_ext_netdev_set_vlan_features(struct net_device *dev, u64 features)
{
	dev->vlan_features = features;
}

u64 rust_ext_netdev_get_features(const struct net_device *dev)
{
	return READ_ONCE(dev->features);
}

u64 rust_ext_netdev_vlan_features_check(struct sk_buff *skb, u64 features)
{
	return vlan_features_check(skb, features);
}

/*
 * A reference may outlive the registration; under RTNL, tells whether the
 * device can still be configured.
 */
static bool configurable(const struct net_device *dev)
{
	return dev->reg_state <= NETREG_REGISTERED;
}

void rust_ext_netdev_update_features(struct net_device *dev)
{
	if (configurable(dev))
		netdev_update_features(dev);
}

void rust_ext_netdev_set_tso_max(struct net_device *dev, u32 size, u16 segs)
{
	netif_set_tso_max_size(dev, size);
	netif_set_tso_max_segs(dev, segs);
}

void rust_ext_netdev_set_watchdog(struct net_device *dev, u64 msecs)
{
	dev->watchdog_timeo = msecs_to_jiffies(min(msecs, U32_MAX));
}

void rust_ext_netdev_set_dev_port(struct net_device *dev, u16 port)
{
	dev->dev_port = port;
}

void rust_ext_netdev_set_ethtool_ops(struct net_device *dev,
				     const struct ethtool_ops *ops)
{
	dev->ethtool_ops = ops;
}

int rust_ext_netdev_set_real_queues(struct net_device *dev, u16 txqs, u16 rxqs)
{
	if (!configurable(dev))
		return -ENODEV;
	return netif_set_real_num_queues(dev, txqs, rxqs);
}

u16 rust_ext_netdev_real_tx_queues(const struct net_device *dev)
{
	return READ_ONCE(dev->real_num_tx_queues);
}

bool rust_ext_netdev_running(const struct net_device *dev)
{
	return netif_running(dev);
}

void rust_ext_netdev_carrier(struct net_device *dev, bool on)
{
	if (on)
		netif_carrier_on(dev);
	else
		netif_carrier_off(dev);
}

bool rust_ext_netdev_carrier_ok(const struct net_device *dev)
{
	return netif_carrier_ok(dev);
}

void rust_ext_netdev_notify_peers(struct net_device *dev)
{
	netdev_notify_peers(dev);
}

void rust_ext_netdev_detach(struct net_device *dev)
{
	if (configurable(dev))
		netif_device_detach(dev);
}

void rust_ext_netdev_attach(struct net_device *dev)
{
	if (configurable(dev))
		netif_device_attach(dev);
}

void rust_ext_netdev_rx_mode(const struct net_device *dev,
			     struct rust_ext_rx_mode *mode)
{
	unsigned int flags = READ_ONCE(dev->flags);

	mode->promiscuous = !!(flags & IFF_PROMISC);
	mode->all_multicast = !!(flags & IFF_ALLMULTI);
}

/* Returns the next address, NULL after the last; *cursor is NULL at first. */
const u8 *rust_ext_hw_addr_next(const struct netdev_hw_addr_list *list,
				const struct netdev_hw_addr **cursor)
{
	const struct list_head *next;

	next = *cursor ? (*cursor)->list.next : list->list.next;
	if (next == &list->list)
		return NULL;
	*cursor = list_entry(next, struct netdev_hw_addr, list);
	return (*cursor)->addr;
}

int rust_ext_hw_addr_count(const struct netdev_hw_addr_list *list)
{
	return list->count;
}

void rust_ext_rtnl_lock(void)
{
	rtnl_lock();
}

void rust_ext_rtnl_unlock(void)
{
	rtnl_unlock();
}
