/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Cooperative Memory Overcommitment (CMO) of the pseries machine
 *
 * The host grants the partition an I/O entitlement with the machine property
 * cmo-entitlement, at start and again at any time. The guest reads what it has
 * with H_GET_MPP. With H_SET_MPP, it can ask for less, and for what it gave up
 * before. A new grant replaces what the guest asked for.
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "hw/mem/memory-device.h"
#include "hw/ppc/spapr.h"
#include "hw/ppc/spapr_vio.h"
#include "migration/vmstate.h"
#include "system/reset.h"
#include "spapr_cmo.h"

#define CMO_WEIGHT_DEFAULT  128
#define CMO_WEIGHT_MAX      255
/* Bits of a TCE that let the device read and write */
#define CMO_TCE_RW          3
/* H_GET_MPP has 48 bits for a difference of entitlements. */
#define CMO_ENTITLEMENT_MAX ((1ULL << 48) - 1)

/* A process has one machine. */
static struct {
    uint64_t granted;       /* bytes; 0: no CMO partition */
    uint64_t entitled;      /* bytes; the guest can change it */
    uint8_t weight;         /* variable memory capacity weight */
} cmo = { .weight = CMO_WEIGHT_DEFAULT };

bool spapr_cmo_is_on(void)
{
    return cmo.granted;
}

/*
 * Returns the number of bytes that TCEs of VIO devices map. This searches the
 * tables, 2 MiB for each GiB of DMA window. It is called when somebody asks for
 * the number, not per frame.
 */
static uint64_t cmo_mapped_bytes(SpaprMachineState *spapr)
{
    uint64_t bytes = 0;
    BusChild *kid;

    QTAILQ_FOREACH(kid, &spapr->vio_bus->bus.children, sibling) {
        SpaprTceTable *tcet = VIO_SPAPR_DEVICE(kid->child)->tcet;

        for (uint32_t i = 0; tcet && i < tcet->nb_table; i++) {
            if (tcet->table[i] & CMO_TCE_RW) {
                bytes += 1ULL << tcet->page_shift;
            }
        }
    }
    return bytes;
}

static target_ulong h_get_mpp(PowerPCCPU *cpu, SpaprMachineState *spapr,
                              target_ulong opcode, target_ulong *args)
{
    uint64_t ram_size = MACHINE(spapr)->ram_size + get_plugged_memory_size();

    if (!spapr_cmo_is_on()) {
        return H_FUNCTION;
    }
    args[0] = cmo.entitled;
    args[1] = cmo_mapped_bytes(spapr);
    args[2] = 0;                    /* group and pool number */
    /* The guest's weight, and the weight and entitlement it could ask for. */
    args[3] = (uint64_t)cmo.weight << 56 | (cmo.granted - cmo.entitled);
    args[4] = ram_size;             /* of the pool, which has no other member */
    args[5] = 0;                    /* loan request */
    args[6] = ram_size;             /* memory behind the partition's */
    return H_SUCCESS;
}

/*
 * Sets the entitlement. It is limited to at most what is granted and at least
 * what is in use.
 */
static target_ulong h_set_mpp(PowerPCCPU *cpu, SpaprMachineState *spapr,
                              target_ulong opcode, target_ulong *args)
{
    uint64_t wanted = args[0], weight = args[1];

    if (!spapr_cmo_is_on()) {
        return H_FUNCTION;
    }
    if (weight > CMO_WEIGHT_MAX) {
        return H_PARAMETER;
    }
    cmo.weight = weight;
    cmo.entitled = MIN(MAX(wanted, cmo_mapped_bytes(spapr)), cmo.granted);
    return cmo.entitled == wanted ? H_SUCCESS : H_CONSTRAINED;
}

char *spapr_cmo_characteristics(void)
{
    if (!spapr_cmo_is_on()) {
        return NULL;
    }
    /* Page size as a power of 2; identities of the paging service partitions */
    return g_strdup_printf("CMOPageSize=%d,PrPSP=1,SecPSP=65535",
                           SPAPR_TCE_PAGE_SHIFT);
}

/* Forgets what the guest asked for, at its end. The host's grant stays. */
static void cmo_reset(void *opaque)
{
    cmo.entitled = cmo.granted;
    cmo.weight = CMO_WEIGHT_DEFAULT;
}

static void cmo_get_entitlement(Object *obj, Visitor *v, const char *name,
                                void *opaque, Error **errp)
{
    visit_type_size(v, name, &cmo.granted, errp);
}

static void cmo_turn_on(void)
{
    /* Both sides would have to agree on what the guest asked for. */
    static const VMStateDescription vmstate = {
        .name = "spapr-cmo",
        .unmigratable = 1,
    };

    vmstate_register(NULL, 0, &vmstate, &cmo);
    qemu_register_reset(cmo_reset, NULL);
}

static void cmo_set_entitlement(Object *obj, Visitor *v, const char *name,
                                void *opaque, Error **errp)
{
    uint64_t bytes;

    if (!visit_type_size(v, name, &bytes, errp)) {
        return;
    }
    if (bytes > CMO_ENTITLEMENT_MAX) {
        error_setg(errp, "%s must be less than 2^48", name);
        return;
    }
    if (phase_check(PHASE_MACHINE_INITIALIZED) && !bytes != !cmo.granted) {
        error_setg(errp, "CMO can't be turned on or off in a running machine");
        return;
    }
    if (bytes && !cmo.granted) {
        cmo_turn_on();
    }
    cmo.granted = bytes;
    cmo.entitled = bytes;
}

void spapr_cmo_class_init(ObjectClass *klass)
{
    object_class_property_add(klass, "cmo-entitlement", "size",
                              cmo_get_entitlement, cmo_set_entitlement, NULL,
                              NULL);
    object_class_property_set_description(klass, "cmo-entitlement",
        "Makes the machine a CMO partition with this I/O entitlement in bytes; "
        "0 (the default): it is none");
}

static void cmo_register(void)
{
    spapr_register_hypercall(H_GET_MPP, h_get_mpp);
    spapr_register_hypercall(H_SET_MPP, h_set_mpp);
}

type_init(cmo_register)
