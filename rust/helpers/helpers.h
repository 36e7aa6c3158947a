/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C side of the Rust abstractions in rust/kernel/.
 *
 * What is here is a macro, static inline or variadic in C, or concerns a
 * structure that the kernel's Rust bindings don't know the layout of. Rust's
 * view of it is generated from here: rust/bindings.
 */
#ifndef RUST_EXT_HELPERS_H
#define RUST_EXT_HELPERS_H

#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/types.h>
#include <linux/workqueue.h>

/* As the kernel's own rust/helpers has it when helpers aren't inlined. */
#define __rust_helper

/* platform.c */
bool rust_ext_firmware_has_cmo(void);
void rust_ext_out_be64(void __iomem *addr, __be64 value);
u64 rust_ext_in_be64(const void __iomem *addr);

/* memory.c */
int rust_ext_notifier_from_errno(int error);

/* crash.c */
bool rust_ext_is_dump_kernel(void);
int rust_ext_crash_shutdown_register(void (*fn)(void));
int rust_ext_crash_shutdown_unregister(void (*fn)(void));

/* module_lock.c */
extern struct mutex rust_ext_module_lock;

/* debugfs.c */
struct dentry;
struct seq_file;

struct rust_ext_debugfs_file {
	struct dentry *dir;
	void (*show)(struct seq_file *seq, struct rust_ext_debugfs_file *file);
};

struct dentry *rust_ext_debugfs_create_module_dir(void);
struct dentry *rust_ext_debugfs_create_dir(const char *name,
					   struct dentry *parent);
void rust_ext_debugfs_create_file(const char *name,
				  struct rust_ext_debugfs_file *file);
void rust_ext_debugfs_remove(struct dentry *dentry);

/* workqueue.c */
void rust_ext_INIT_DELAYED_WORK(struct delayed_work *work, work_func_t fn);

/* netdev.c */
void rust_ext_netdev_hold(struct net_device *dev);
void rust_ext_netdev_put(struct net_device *dev);
void rust_ext_eth_hw_addr_set(struct net_device *dev, const u8 *addr);
u64 rust_ext_netdev_vlan_features_check(struct sk_buff *skb, u64 features);
void rust_ext_assert_rtnl(void);
void rust_ext_local_bh_disable(void);
void rust_ext_local_bh_enable(void);

/* queue.c */
void rust_ext_netif_tx_stop_queue(struct netdev_queue *txq);
void rust_ext_netdev_tx_reset_queue(struct netdev_queue *txq);
void rust_ext_netif_tx_lock_bh(struct netdev_queue *txq);
void rust_ext_netif_tx_unlock_bh(struct netdev_queue *txq);
int rust_ext_netif_txq_try_stop(struct netdev_queue *txq,
				bool (*has_room)(void *context), void *context);
int rust_ext_netif_txq_completed_wake(struct netdev_queue *txq,
				      unsigned int packets, unsigned int bytes,
				      bool has_room, const bool *held);
bool rust_ext_netdev_tx_sent_queue(struct netdev_queue *txq, unsigned int bytes,
				   bool xmit_more);
bool rust_ext_netdev_xmit_more(void);
bool rust_ext_netif_xmit_stopped(const struct netdev_queue *txq);

/* skbuff.c */
bool rust_ext_skb_frags_readable(const struct sk_buff *skb);
u64 rust_ext_skb_frag_phys(const skb_frag_t *frag);
int rust_ext_skb_linearize(struct sk_buff *skb);
void rust_ext_skb_tx_timestamp(struct sk_buff *skb);
struct sk_buff *rust_ext_skb_alloc(struct net_device *dev, u32 len);
void rust_ext_vlan_hwaccel_put_tag(struct sk_buff *skb, u16 tci);
void rust_ext_napi_gro_receive(struct napi_struct *napi, struct sk_buff *skb);

#endif /* RUST_EXT_HELPERS_H */
