/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of the abstractions need of C; see rust/testing/mod.rs.
 */
#ifndef RUST_EXT_TESTING_H
#define RUST_EXT_TESTING_H

#include <linux/netdevice.h>
#include <linux/types.h>

struct rust_ext_test_received {
	u32 frames;
	/* Of the last frame: */
	u32 len;
	u16 vlan_tci;
	u8 vlan_present;
	u8 checksum;
	u8 first;
	u8 last;
};

struct sk_buff *rust_ext_test_skb(struct net_device *dev, u32 len,
				  u32 frag_len);
struct sk_buff *rust_ext_test_segmented_skb(struct net_device *dev, u32 len);
u64 rust_ext_test_real_address(const struct sk_buff *skb);
u32 rust_ext_test_freed(void);
void rust_ext_test_quiet(struct net_device *dev);
int rust_ext_test_xmit(struct net_device *dev, struct sk_buff *skb, u16 queue);
int rust_ext_test_open(struct net_device *dev);
void rust_ext_test_close(struct net_device *dev);
int rust_ext_test_set_mtu(struct net_device *dev, u32 mtu);
void rust_ext_test_listen(struct net_device *dev, bool on);
void rust_ext_test_received(struct rust_ext_test_received *received);
u64 rust_ext_test_present_bytes(void);
u64 rust_ext_test_memory_end(void);
bool rust_ext_test_online(u64 address);
u64 rust_ext_test_read(u64 address);
void rust_ext_test_write(u64 address, const void *data, size_t len);

#endif /* RUST_EXT_TESTING_H */
