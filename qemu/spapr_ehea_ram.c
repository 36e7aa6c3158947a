/* SPDX-License-Identifier: GPL-2.0 */
/*
 * eHEA adapter on the pseries VIO bus: memory that leaves the guest, and returns
 *
 * The model must not touch memory that the guest gave back, though the machine
 * may still have it. Memory leaves the guest when the guest gives back an LMB
 * (isolates its DRC), or with its DIMM. It returns when the guest takes an LMB
 * (unisolates its DRC), when it is plugged into the machine, and by a reset or
 * the guest's negotiation of its options (CAS). The last two set the DRCs of
 * all existing LMBs to "configured" and finish removals that were requested; a
 * reset does so after it has reset the adapter.
 */

#include "qemu/osdep.h"
#include "exec/address-spaces.h"
#include "hw/boards.h"
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

/* Memory was added. What the guest had given back belongs to it again. */
static void ehea_ram_returned(SpaprEhea *s, uint64_t gpa, uint64_t len)
{
    trace_ehea_ram_returned(s->sdev.qdev.id, gpa, len);
    spapr_ehea_enter(s);
    ehea_model_ram_returned(s->model, gpa, len);
    spapr_ehea_leave(s);
}

void spapr_ehea_ram_settled(SpaprEhea *s)
{
    ehea_ram_returned(s, 0, UINT64_MAX);
}

static bool ehea_is_ram(const MemoryRegionSection *section)
{
    return memory_region_is_ram(section->mr) &&
           !memory_region_is_ram_device(section->mr);
}

static void ehea_region_add(MemoryListener *listener,
                            MemoryRegionSection *section)
{
    SpaprEhea *s = container_of(listener, SpaprEhea, listener);

    if (ehea_is_ram(section)) {
        ehea_ram_returned(s, section->offset_within_address_space,
                          int128_get64(section->size));
    }
}

/* A DIMM left the machine, because the guest has given back its last LMB. */
static void ehea_region_del(MemoryListener *listener,
                            MemoryRegionSection *section)
{
    SpaprEhea *s = container_of(listener, SpaprEhea, listener);

    if (ehea_is_ram(section)) {
        ehea_ram_removed(s, section->offset_within_address_space,
                         int128_get64(section->size));
    }
}

/* Handlers of the machine itself for LMBs */
static uint32_t (*ehea_lmb_isolate_next)(SpaprDrc *drc);
static uint32_t (*ehea_lmb_unisolate_next)(SpaprDrc *drc);

/*
 * The guest gives back one LMB of a DIMM. From now on, the LMB must not be
 * touched, though it stays in the memory map until the whole DIMM is removed,
 * or until the guest takes it back.
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

/* The guest gets one LMB of a DIMM, or does not give it back after all. */
static uint32_t ehea_lmb_unisolate(SpaprDrc *drc)
{
    uint32_t rc = ehea_lmb_unisolate_next(drc);
    SpaprEhea *s;

    if (rc == RTAS_OUT_SUCCESS) {
        QLIST_FOREACH(s, &spapr_ehea_adapters, next) {
            ehea_ram_returned(s, drc->id * SPAPR_MEMORY_BLOCK_SIZE,
                              SPAPR_MEMORY_BLOCK_SIZE);
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

/* Tells an adapter that comes late of the LMBs that the guest has given back. */
static void ehea_catch_up(SpaprEhea *s)
{
    DeviceMemoryState *dm = MACHINE(qdev_get_machine())->device_memory;
    hwaddr lmb = dm ? QEMU_ALIGN_DOWN(dm->base, SPAPR_MEMORY_BLOCK_SIZE) : 0;
    hwaddr end = dm ? dm->base + memory_region_size(&dm->mr) : 0;

    for (; lmb < end; lmb += SPAPR_MEMORY_BLOCK_SIZE) {
        SpaprDrc *drc = spapr_drc_by_id(TYPE_SPAPR_DRC_LMB,
                                        lmb / SPAPR_MEMORY_BLOCK_SIZE);

        if (drc && drc->dev && (drc->state == SPAPR_DRC_STATE_LOGICAL_UNUSABLE ||
                                drc->state == SPAPR_DRC_STATE_LOGICAL_AVAILABLE)) {
            ehea_ram_removed(s, lmb, SPAPR_MEMORY_BLOCK_SIZE);
        }
    }
}

void spapr_ehea_ram_init(SpaprEhea *s)
{
    ehea_wrap_lmb_isolation();
    s->listener = (MemoryListener) {
        .name = TYPE_SPAPR_EHEA,
        .region_add = ehea_region_add,
        .region_del = ehea_region_del,
    };
    memory_listener_register(&s->listener, &address_space_memory);
    if (spapr_drc_hotplugged(DEVICE(s))) {
        ehea_catch_up(s);
    }
}

void spapr_ehea_ram_cleanup(SpaprEhea *s)
{
    memory_listener_unregister(&s->listener);
}
