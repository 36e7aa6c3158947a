/* SPDX-License-Identifier: GPL-2.0 */
/*
 * eHEA adapter on the pseries VIO bus: declarations shared by the device's files
 */
#ifndef HW_NET_SPAPR_EHEA_H
#define HW_NET_SPAPR_EHEA_H

#include "qemu/bitmap.h"
#include "qemu/queue.h"
#include "qemu/timer.h"
#include "exec/memory.h"
#include "net/net.h"
#include "hw/ppc/spapr.h"
#include "hw/ppc/spapr_vio.h"
#include "qom/object.h"
#include "ehea_model.h"

#define TYPE_SPAPR_EHEA "spapr-ehea"
OBJECT_DECLARE_SIMPLE_TYPE(SpaprEhea, SPAPR_EHEA)

/*
 * Register blocks of all adapters: above RAM, below the PCI host bridges. An
 * adapter's window is always this large, so a doorbell to a block that is not
 * in use reaches the model; an unmapped address would be a machine check.
 */
#define EHEA_MMIO_BASE        0x1F0000000000ULL
#define EHEA_MMIO_WINDOW      (16 * MiB)
#define EHEA_MMIO_SLOTS       (EHEA_MMIO_WINDOW / EHEA_MODEL_SLOT_SIZE)
#define EHEA_ADAPTERS_MAX     16

#define EHEA_MR_PAGE_SIZE_4K  0x80000000U

/*
 * Interrupt numbers of one adapter, from SPAPR_IRQ_EHEA in the order of the
 * windows. They belong to this adapter, whatever others use, and stay claimed
 * over a reset.
 */
#define EHEA_IRQ_COUNT        256

typedef struct SpaprEheaPort {
    NICConf conf;
    NICState *nic;              /* NULL without a netdev */
    SpaprDrc *drc;              /* NULL until the adapter is realized */
    /* QEMU's network layer holds one frame of this port for a busy peer. */
    bool tx_busy;
    /* A frame of the model was refused; the model waits to be called. */
    bool tx_waiting;
} SpaprEheaPort;

struct SpaprEhea {
    SpaprVioDevice sdev;

    /* Properties */
    uint32_t num_ports;
    uint64_t adapter_handle;
    uint32_t max_queue_pairs;
    uint32_t max_mrs;
    uint32_t mr_page_sizes;
    uint32_t num_queue_pairs;
    bool flow_control;
    bool disabled_drops;
    uint32_t reraise_ms;
    char *temper;               /* "calm" or "rough" */
    char *temper_busy;          /* "anywhere" or "sleeping" */
    uint32_t temper_seed;
    uint32_t dma_window_size;   /* bytes, in a CMO partition */
    bool ibmebus;               /* node at the root instead of /vdevice */
    SpaprEheaPort port[EHEA_MODEL_PORTS_MAX];

    struct ehea_model *model;   /* NULL until realized */
    bool owned;                 /* the guest has not given it back */
    MemoryRegion mmio;
    uint32_t window;            /* index of its MMIO window and interrupts */
    MemoryListener listener;
    QEMUTimer *timer;
    DECLARE_BITMAP(irqs, EHEA_IRQ_COUNT);   /* numbers in use */

    /* See spapr_ehea_enter() */
    unsigned entries;           /* calls of the model that have not returned */
    bool delivering;
    uint32_t flush_mask;        /* ports whose held-back frames are due */
    uint32_t ready_mask;        /* ports to be told that they may send */

    QLIST_ENTRY(SpaprEhea) next;
};

typedef QLIST_HEAD(, SpaprEhea) SpaprEheaList;
extern SpaprEheaList spapr_ehea_adapters;

/* Adds the properties to the class. Checks them and derives those not given. */
void spapr_ehea_add_properties(ObjectClass *klass);
bool spapr_ehea_check_properties(SpaprEhea *s, Error **errp);
/* Returns the temper of a device whose properties were checked. */
enum ehea_temper spapr_ehea_temper(const SpaprEhea *s);

/*
 * Bracket of every call into the model. What QEMU does for a model can call the
 * model again before it returns: sending a frame brings the answer, and raising
 * an interrupt stores to wherever a guest with XIVE has put an event queue of a
 * processor, which may be the adapter's registers. While models run, interrupts
 * are therefore noted, frames stay in QEMU's queues, and what they wait for is
 * noted. All of that is done when the model is left. Interrupts are raised when
 * the last model is left, since an adapter can send to another one.
 */
void spapr_ehea_enter(SpaprEhea *s);
void spapr_ehea_leave(SpaprEhea *s);

static inline bool spapr_ehea_in_model(const SpaprEhea *s)
{
    return s->entries;
}

/* Raises an interrupt once no model runs any more; keeps the order of calls. */
void spapr_ehea_defer_irq(SpaprEhea *s, uint32_t irq);
/* Forgets that an interrupt was to be raised. */
void spapr_ehea_forget_irq(SpaprEhea *s, uint32_t irq);

/* Functions that the device provides to the model; ctx is the SpaprEhea. */
extern const struct ehea_model_host spapr_ehea_host;

/* Claim the adapter's interrupt numbers, and give them back. */
bool spapr_ehea_irq_init(SpaprEhea *s, Error **errp);
void spapr_ehea_irq_cleanup(SpaprEhea *s);

/* Watch memory that comes and goes: with a listener and, for LMBs, the DRCs. */
void spapr_ehea_ram_init(SpaprEhea *s);
void spapr_ehea_ram_cleanup(SpaprEhea *s);
/* Gives the guest all memory that exists now, as its device tree says. */
void spapr_ehea_ram_settled(SpaprEhea *s);

/* The model calls both. */
bool spapr_ehea_tx_frame(void *ctx, uint32_t port, const void *frame,
                         size_t len);
void spapr_ehea_rx_flush(void *ctx, uint32_t port);

/* Make the connectors of the ports, and remove them. */
void spapr_ehea_ports_init(SpaprEhea *s);
void spapr_ehea_ports_cleanup(SpaprEhea *s);
/* Describes the ports in the adapter's node. Returns 0, or an error of libfdt. */
int spapr_ehea_dt_ports(SpaprEhea *s, void *fdt, int off);

void spapr_ehea_net_init(SpaprEhea *s);
void spapr_ehea_net_cleanup(SpaprEhea *s);
/* Drops the frames that wait for a busy peer. Call this inside the model. */
void spapr_ehea_net_purge(SpaprEhea *s);
/* Restarts after the model's reset: nobody waits, held-back frames are due. */
void spapr_ehea_net_restart(SpaprEhea *s);

#endif
