/* SPDX-License-Identifier: GPL-2.0 */
/*
 * eHEA adapter on the pseries VIO bus: services for the adapter model
 *
 * Guest memory, interrupts, the timer and traces. Everything here runs with the
 * big lock held: in a vCPU thread (hypercalls, registers) or in the main loop
 * (timer, network, monitor).
 */

#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "qapi/error.h"
#include "exec/address-spaces.h"
#include "exec/memory.h"
#include "hw/boards.h"
#include "hw/mem/memory-device.h"
#include "hw/ppc/spapr_irq.h"
#include "trace.h"
#include "spapr_ehea.h"

/* RAM only: an adapter reaches no registers of a device, not even its own. */
static const MemTxAttrs ehea_attrs = { .memory = 1 };

/*
 * Guest memory
 */

static bool ehea_mem_is_ram(void *ctx, uint64_t gpa, uint64_t len)
{
    RCU_READ_LOCK_GUARD();

    if (gpa + len < gpa) {
        return false;
    }
    while (len) {
        hwaddr xlat, run = len;
        MemoryRegion *mr = address_space_translate(&address_space_memory, gpa,
                                                   &xlat, &run, true,
                                                   ehea_attrs);

        if (!run || !memory_region_is_ram(mr) || mr->readonly ||
            memory_region_is_ram_device(mr)) {
            return false;
        }
        gpa += run;
        len -= run;
    }
    return true;
}

static int ehea_mem_read(void *ctx, uint64_t gpa, void *buf, uint64_t len)
{
    if (gpa + len < gpa ||
        address_space_read(&address_space_memory, gpa, ehea_attrs, buf, len)) {
        return -1;
    }
    return 0;
}

static int ehea_mem_write(void *ctx, uint64_t gpa, const void *buf,
                          uint64_t len)
{
    /* A write that runs past the end of RAM would store its first part. */
    if (!ehea_mem_is_ram(ctx, gpa, len) ||
        address_space_write(&address_space_memory, gpa, ehea_attrs, buf, len)) {
        return -1;
    }
    return 0;
}

static int ehea_mem_write_u64_be(void *ctx, uint64_t gpa, uint64_t value)
{
    MemTxResult res;

    if (gpa % sizeof(value) || !ehea_mem_is_ram(ctx, gpa, sizeof(value))) {
        return -1;
    }
    /*
     * This is the word with the toggle bit. A vCPU polls it in another thread
     * and must find the rest of the entry once it sees it.
     */
    smp_wmb();
    address_space_stq_be(&address_space_memory, gpa, value, ehea_attrs, &res);
    return res == MEMTX_OK ? 0 : -1;
}

static uint64_t ehea_ram_size(void *ctx)
{
    return current_machine->ram_size + get_plugged_memory_size();
}

/*
 * Interrupts
 */

QEMU_BUILD_BUG_ON(SPAPR_IRQ_EHEA + EHEA_ADAPTERS_MAX * EHEA_IRQ_COUNT >
                  SPAPR_XIRQ_BASE + SPAPR_NR_XIRQS);

static uint32_t ehea_irq_base(const SpaprEhea *s)
{
    return SPAPR_IRQ_EHEA + s->window * EHEA_IRQ_COUNT;
}

bool spapr_ehea_irq_init(SpaprEhea *s, Error **errp)
{
    SpaprMachineState *spapr = SPAPR_MACHINE(qdev_get_machine());

    if (SPAPR_MACHINE_GET_CLASS(spapr)->legacy_irq_allocation) {
        error_setg(errp, TYPE_SPAPR_EHEA " needs a machine type of version 3.1"
                   " or later: older ones have no room for its interrupts");
        return false;
    }
    /*
     * All numbers are claimed, for good. Both interrupt controllers then know
     * them, whichever mode the guest negotiates, and the model can keep its
     * promises.
     */
    for (int i = 0; i < EHEA_IRQ_COUNT; i++) {
        if (spapr_irq_claim(spapr, ehea_irq_base(s) + i, false, errp) < 0) {
            spapr_irq_free(spapr, ehea_irq_base(s), i);
            return false;
        }
    }
    return true;
}

void spapr_ehea_irq_cleanup(SpaprEhea *s)
{
    spapr_irq_free(SPAPR_MACHINE(qdev_get_machine()), ehea_irq_base(s),
                   EHEA_IRQ_COUNT);
}

static int64_t ehea_irq_alloc(void *ctx)
{
    SpaprEhea *s = ctx;
    unsigned long i = find_first_zero_bit(s->irqs, EHEA_IRQ_COUNT);

    if (i >= EHEA_IRQ_COUNT) {
        return -1;
    }
    set_bit(i, s->irqs);
    return ehea_irq_base(s) + i;
}

/* spapr_qirq() aborts on a number that is not claimed: check what comes in. */
static bool ehea_irq_is_ours(SpaprEhea *s, uint32_t irq)
{
    uint32_t base = ehea_irq_base(s);

    return irq >= base && irq < base + EHEA_IRQ_COUNT &&
           test_bit(irq - base, s->irqs);
}

static void ehea_irq_free(void *ctx, uint32_t irq)
{
    SpaprEhea *s = ctx;

    if (ehea_irq_is_ours(s, irq)) {
        spapr_ehea_forget_irq(s, irq);
        clear_bit(irq - ehea_irq_base(s), s->irqs);
    }
}

static void ehea_irq_pulse(void *ctx, uint32_t irq)
{
    SpaprEhea *s = ctx;

    if (ehea_irq_is_ours(s, irq)) {
        spapr_ehea_defer_irq(s, irq);
    }
}

static bool ehea_guest_is_idle(void *ctx)
{
    CPUState *cs;

    CPU_FOREACH(cs) {
        if (!cs->halted || cpu_has_work(cs)) {
            return false;
        }
    }
    return true;
}

/*
 * Time
 */

static uint64_t ehea_now_ns(void *ctx)
{
    return qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
}

static void ehea_timer_set(void *ctx, uint64_t deadline_ns)
{
    SpaprEhea *s = ctx;

    if (deadline_ns == EHEA_MODEL_NO_DEADLINE) {
        timer_del(s->timer);
        return;
    }
    /*
     * Never in the past: a callback that re-arms its timer for "now" would be
     * run again and again by the same pass over the expired timers.
     */
    timer_mod_ns(s->timer, MAX(MIN(deadline_ns, INT64_MAX),
                               ehea_now_ns(ctx) + 1));
}

/*
 * Traces
 */

static bool ehea_trace_enabled(void *ctx, uint32_t level)
{
    switch (level) {
    case EHEA_TRACE_REFUSED:
        return trace_event_get_state_backends(TRACE_EHEA_TRACE_REFUSED);
    case EHEA_TRACE_EVENT:
        return trace_event_get_state_backends(TRACE_EHEA_TRACE_EVENT);
    default:
        return trace_event_get_state_backends(TRACE_EHEA_TRACE_VERBOSE);
    }
}

static void ehea_trace(void *ctx, uint32_t level, const char *msg, size_t len)
{
    SpaprEhea *s = ctx;
    g_autofree char *text = NULL;

    if (!ehea_trace_enabled(ctx, level)) {
        return;
    }
    text = g_strndup(msg, len);
    switch (level) {
    case EHEA_TRACE_REFUSED:
        trace_ehea_trace_refused(s->sdev.qdev.id, text);
        break;
    case EHEA_TRACE_EVENT:
        trace_ehea_trace_event(s->sdev.qdev.id, text);
        break;
    default:
        trace_ehea_trace_verbose(s->sdev.qdev.id, text);
        break;
    }
}

const struct ehea_model_host spapr_ehea_host = {
    .mem_read = ehea_mem_read,
    .mem_write = ehea_mem_write,
    .mem_write_u64_be = ehea_mem_write_u64_be,
    .mem_is_ram = ehea_mem_is_ram,
    .ram_size = ehea_ram_size,
    .irq_alloc = ehea_irq_alloc,
    .irq_free = ehea_irq_free,
    .irq_pulse = ehea_irq_pulse,
    .guest_is_idle = ehea_guest_is_idle,
    .now_ns = ehea_now_ns,
    .timer_set = ehea_timer_set,
    .tx_frame = spapr_ehea_tx_frame,
    .rx_flush = spapr_ehea_rx_flush,
    .trace_enabled = ehea_trace_enabled,
    .trace = ehea_trace,
};
