/* SPDX-License-Identifier: GPL-2.0 */
/*
 * eHEA adapter on the pseries VIO bus: calls into the model, and what follows
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qemu/main-loop.h"
#include "net/net.h"
#include "spapr_ehea.h"

void spapr_ehea_enter(SpaprEhea *s)
{
    g_assert(bql_locked() && !s->in_model);
    s->in_model = true;
}

void spapr_ehea_leave(SpaprEhea *s)
{
    s->in_model = false;

    /* The outermost leave does the work, also that which its work causes. */
    if (s->delivering) {
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
            qemu_flush_queued_packets(qemu_get_queue(s->port[i].nic));
        } else {
            i = ctz32(s->ready_mask);
            s->ready_mask &= ~BIT(i);
            spapr_ehea_enter(s);
            ehea_model_tx_ready(s->model, i);
            s->in_model = false;
        }
    }
    s->delivering = false;
}
