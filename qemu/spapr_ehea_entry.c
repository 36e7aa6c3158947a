/* SPDX-License-Identifier: GPL-2.0 */
/*
 * eHEA adapter on the pseries VIO bus: calls into the model, and what follows
 *
 * Interrupts come first when a model is left. The guest finds the entries that
 * they announce, because these were stored before. No time passes, on any
 * clock, between a call of a model and what follows it, so that is as
 * deterministic as the call.
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qemu/main-loop.h"
#include "hw/irq.h"
#include "hw/ppc/spapr_irq.h"
#include "net/net.h"
#include "trace.h"
#include "spapr_ehea.h"

typedef struct EheaPulse {
    SpaprEhea *s;               /* NULL: forgotten */
    uint32_t irq;
} EheaPulse;

/* State of all adapters */
static struct {
    unsigned entries;           /* calls of models that have not returned */
    GArray *pulses;             /* interrupts to be raised, the oldest first */
    bool raising;
} ehea;

void spapr_ehea_defer_irq(SpaprEhea *s, uint32_t irq)
{
    EheaPulse pulse = { .s = s, .irq = irq };

    if (!ehea.pulses) {
        ehea.pulses = g_array_new(false, false, sizeof(EheaPulse));
    }
    g_array_append_val(ehea.pulses, pulse);
}

void spapr_ehea_forget_irq(SpaprEhea *s, uint32_t irq)
{
    for (guint i = 0; ehea.pulses && i < ehea.pulses->len; i++) {
        EheaPulse *pulse = &g_array_index(ehea.pulses, EheaPulse, i);

        if (pulse->s == s && pulse->irq == irq) {
            pulse->s = NULL;
        }
    }
}

/*
 * An interrupt can be a store to registers of an adapter, which enters its model
 * and comes here again. The outermost call raises all interrupts. The store has
 * 32 bits, and registers ignore every size but 64 bits, so it raises no further
 * interrupt.
 */
static void ehea_raise_irqs(void)
{
    SpaprMachineState *spapr;

    if (!ehea.pulses || !ehea.pulses->len || ehea.raising) {
        return;
    }
    spapr = SPAPR_MACHINE(qdev_get_machine());
    ehea.raising = true;
    for (guint i = 0; i < ehea.pulses->len; i++) {
        EheaPulse pulse = g_array_index(ehea.pulses, EheaPulse, i);

        if (pulse.s) {
            trace_ehea_irq_pulse(pulse.s->sdev.qdev.id, pulse.irq);
            qemu_irq_pulse(spapr_qirq(spapr, pulse.irq));
        }
    }
    g_array_set_size(ehea.pulses, 0);
    ehea.raising = false;
}

void spapr_ehea_enter(SpaprEhea *s)
{
    g_assert(bql_locked());
    s->entries++;
    ehea.entries++;
}

void spapr_ehea_leave(SpaprEhea *s)
{
    s->entries--;
    ehea.entries--;
    if (!ehea.entries) {
        ehea_raise_irqs();
    }

    /* The outermost leave does the work, and the work that this causes. */
    if (s->entries || s->delivering) {
        return;
    }
    s->delivering = true;
    while (s->flush_mask || s->ready_mask) {
        unsigned i;

        /*
         * Flush first: as long as older frames wait in the queue of a port that
         * can receive, a newer one would overtake them.
         */
        if (s->flush_mask) {
            i = ctz32(s->flush_mask);
            s->flush_mask &= ~BIT(i);
            if (s->port[i].nic) {
                qemu_flush_queued_packets(qemu_get_queue(s->port[i].nic));
            }
        } else {
            i = ctz32(s->ready_mask);
            s->ready_mask &= ~BIT(i);
            spapr_ehea_enter(s);
            ehea_model_tx_ready(s->model, i);
            spapr_ehea_leave(s);
        }
    }
    s->delivering = false;
}
