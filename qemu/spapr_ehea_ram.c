/* SPDX-License-Identifier: GPL-2.0 */
/*
 * eHEA adapter on the pseries VIO bus: memory that leaves the guest
 */

#include "qemu/osdep.h"
#include "exec/address-spaces.h"
#include "hw/ppc/spapr_drc.h"
#include "trace.h"
#include "spapr_ehea.h"

static void ehea_ram_removed(SpaprEhea *s, uint64_t gpa, uint64_t len)
{
    trace_ehea_ram_removed(s->sdev.qdev.id, gpa, len);
    spapr_ehea_enter(s);
    ehea_model_ram_removed(s->model, gpa, len);
    spapr_ehea_leave(s);
}

/* A DIMM left the machine, when the guest has given back its last LMB. */
static void ehea_region_del(MemoryListener *listener,
                            MemoryRegionSection *section)
{
    SpaprEhea *s = container_of(listener, SpaprEhea, listener);

    if (memory_region_is_ram(section->mr) &&
        !memory_region_is_ram_device(section->mr)) {
        ehea_ram_removed(s, section->offset_within_address_space,
                         int128_get64(section->size));
    }
}

/* The machine's own handlers for LMBs */
static uint32_t (*ehea_lmb_isolate_next)(SpaprDrc *drc);
static uint32_t (*ehea_lmb_unisolate_next)(SpaprDrc *drc);

/*
 * The guest gives back one LMB of a DIMM. From now on it must not be touched,
 * though it stays in the memory map until the whole DIMM is gone; or for good,
 * if nobody but the guest itself wanted it gone: then the machine refuses, but
 * Linux doesn't look at the answer, and has taken the LMB out of its memory.
 */
static uint32_t ehea_lmb_isolate(SpaprDrc *drc)
{
    bool in_use = drc->state == SPAPR_DRC_STATE_LOGICAL_CONFIGURED;
    uint32_t rc = ehea_lmb_isolate_next(drc);
    SpaprEhea *s;

    if (in_use) {
        QLIST_FOREACH(s, &spapr_ehea_adapters, next) {
            ehea_ram_removed(s, drc->id * SPAPR_MEMORY_BLOCK_SIZE,
                             SPAPR_MEMORY_BLOCK_SIZE);
        }
    }
    return rc;
}

/* The guest gets one LMB of a DIMM, or won't give it back after all. */
static uint32_t ehea_lmb_unisolate(SpaprDrc *drc)
{
    uint32_t rc = ehea_lmb_unisolate_next(drc);
    SpaprEhea *s;

    if (rc == RTAS_OUT_SUCCESS) {
        QLIST_FOREACH(s, &spapr_ehea_adapters, next) {
            spapr_ehea_enter(s);
            ehea_model_ram_returned(s->model,
                                    drc->id * SPAPR_MEMORY_BLOCK_SIZE,
                                    SPAPR_MEMORY_BLOCK_SIZE);
            spapr_ehea_leave(s);
        }
    }
    return rc;
}

static void ehea_wrap_lmb_isolation(void)
{
    ObjectClass *klass = object_class_by_name(TYPE_SPAPR_DRC_LMB);
    SpaprDrcClass *drck = SPAPR_DR_CONNECTOR_CLASS(klass);

    if (drck->isolate != ehea_lmb_isolate) {
        ehea_lmb_isolate_next = drck->isolate;
        drck->isolate = ehea_lmb_isolate;
        ehea_lmb_unisolate_next = drck->unisolate;
        drck->unisolate = ehea_lmb_unisolate;
    }
}

void spapr_ehea_ram_init(SpaprEhea *s)
{
    ehea_wrap_lmb_isolation();
    s->listener = (MemoryListener) {
        .name = TYPE_SPAPR_EHEA,
        .region_del = ehea_region_del,
    };
    memory_listener_register(&s->listener, &address_space_memory);
}

void spapr_ehea_ram_cleanup(SpaprEhea *s)
{
    memory_listener_unregister(&s->listener);
}
