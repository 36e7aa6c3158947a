/* SPDX-License-Identifier: GPL-2.0 */
/*
 * eHEA adapter on the pseries VIO bus: the QEMU device
 *
 * The adapter itself is a model in a library of its own; see ehea_model.h. This
 * file makes it a device: device tree node, hypercalls, register window, reset.
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "exec/address-spaces.h"
#include "hw/ppc/fdt.h"
#include "hw/ppc/spapr_cmo.h"
#include "migration/vmstate.h"
#include "net/eth.h"
#include "trace.h"
#include "spapr_ehea.h"

#include <libfdt.h>

SpaprEheaList spapr_ehea_adapters =
    QLIST_HEAD_INITIALIZER(spapr_ehea_adapters);

/*
 * Hypercalls
 */

/* Shows a refusal of which no model hears, as those of models are shown. */
static void ehea_trace_no_adapter(uint64_t opcode, uint64_t handle)
{
    g_autofree char *text = NULL;

    if (trace_event_get_state_backends(TRACE_EHEA_TRACE_REFUSED)) {
        text = g_strdup_printf("opcode 0x%" PRIx64 ": no adapter has the handle"
                               " 0x%" PRIx64 ": H_PARAMETER", opcode, handle);
        trace_ehea_trace_refused(TYPE_SPAPR_EHEA, text);
    }
}

static target_ulong ehea_hcall(PowerPCCPU *cpu, SpaprMachineState *spapr,
                               target_ulong opcode, target_ulong *args)
{
    uint64_t regs[EHEA_MODEL_HCALL_ARGS];
    SpaprEhea *s;
    int64_t rc;

    /* A machine without an adapter answers as if the opcodes did not exist. */
    if (QLIST_EMPTY(&spapr_ehea_adapters)) {
        return H_FUNCTION;
    }
    QLIST_FOREACH(s, &spapr_ehea_adapters, next) {
        if (s->adapter_handle == args[0] && s->owned) {
            break;
        }
    }
    if (!s) {
        ehea_trace_no_adapter(opcode, args[0]);
        return H_PARAMETER;
    }

    for (int i = 0; i < EHEA_MODEL_HCALL_ARGS; i++) {
        regs[i] = args[i];
    }
    spapr_ehea_enter(s);
    rc = ehea_model_hcall(s->model, opcode, regs);
    spapr_ehea_leave(s);
    /* Only R4 to R12: the next one, R13, belongs to the guest's kernel. */
    for (int i = 0; i < EHEA_MODEL_HCALL_ARGS; i++) {
        args[i] = regs[i];
    }
    trace_ehea_hcall(s->sdev.qdev.id, opcode, rc);
    return rc;
}

/*
 * Registers
 */

static uint64_t ehea_mmio_read(void *opaque, hwaddr offset, unsigned size)
{
    SpaprEhea *s = opaque;
    uint64_t value;

    spapr_ehea_enter(s);
    value = ehea_model_mmio_read(s->model, offset, size);
    spapr_ehea_leave(s);
    trace_ehea_mmio_read(s->sdev.qdev.id, offset, size, value);
    return value;
}

static void ehea_mmio_write(void *opaque, hwaddr offset, uint64_t value,
                            unsigned size)
{
    SpaprEhea *s = opaque;

    trace_ehea_mmio_write(s->sdev.qdev.id, offset, size, value);
    spapr_ehea_enter(s);
    ehea_model_mmio_write(s->model, offset, size, value);
    spapr_ehea_leave(s);
}

/*
 * Registers are 64 bits wide, but accesses of every size go to the model, which
 * ignores and counts those of another size. An access that .valid refuses would
 * be a machine check in the guest.
 */
static const MemoryRegionOps ehea_mmio_ops = {
    .read = ehea_mmio_read,
    .write = ehea_mmio_write,
    .endianness = DEVICE_BIG_ENDIAN,
    .valid = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
    .impl = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
};

static void ehea_timer(void *opaque)
{
    SpaprEhea *s = opaque;

    spapr_ehea_enter(s);
    ehea_model_run(s->model, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL));
    spapr_ehea_leave(s);
}

/*
 * The DMA window in a CMO partition, where mapping costs the guest entitlement.
 * Outside CMO, nothing is mapped, so there is no window.
 */

static uint32_t ehea_window_size(SpaprVioDevice *sdev)
{
    SpaprEhea *s = SPAPR_EHEA(sdev);

    return spapr_cmo_is_on() && !s->ibmebus ? s->dma_window_size : 0;
}

static target_ulong ehea_tce_hcall(void *opaque, target_ulong opcode)
{
    SpaprEhea *s = opaque;
    int64_t rc;

    spapr_ehea_enter(s);
    rc = ehea_model_tce_hcall(s->model, opcode);
    spapr_ehea_leave(s);
    return rc;
}

static void ehea_tce_put(void *opaque, uint64_t from, uint64_t to)
{
    SpaprEhea *s = opaque;

    spapr_ehea_enter(s);
    ehea_model_tce_put(s->model, from, to);
    spapr_ehea_leave(s);
}

static void ehea_tce_clear(void *opaque)
{
    SpaprEhea *s = opaque;

    spapr_ehea_enter(s);
    ehea_model_tce_clear(s->model);
    spapr_ehea_leave(s);
}

static const SpaprTceWatch ehea_tce_watch = {
    .hcall = ehea_tce_hcall,
    .put = ehea_tce_put,
    .clear = ehea_tce_clear,
};

static void ehea_watch_window(SpaprEhea *s, const SpaprTceWatch *watch)
{
    if (s->sdev.tcet) {
        s->sdev.tcet->watch_opaque = s;
        s->sdev.tcet->watch = watch;
    }
}

/*
 * Device tree
 */

static int ehea_adapter_properties(SpaprEhea *s, void *fdt, int off)
{
    int ret;

    ret = fdt_setprop_u64(fdt, off, "ibm,hea-handle", s->adapter_handle);
    if (!ret) {
        ret = fdt_setprop_cell(fdt, off, "#address-cells", 1);
    }
    if (!ret) {
        ret = fdt_setprop_cell(fdt, off, "#size-cells", 0);
    }
    return ret ? ret : spapr_ehea_dt_ports(s, fdt, off);
}

/*
 * Puts the adapter where POWER6 and POWER7 machines have it: at the root, on no
 * bus, which Linux calls ibmebus. The VIO bus has already made a node. It may be
 * changed, because the bus does not use its offset afterwards.
 */
static int ehea_ibmebus_devnode(SpaprEhea *s, void *fdt, int vio_off)
{
    g_autofree char *name = g_strdup_printf("lhea@%" PRIx32, s->sdev.reg);
    /* Firmware finds a node by its unit address, which it takes from "reg". */
    uint32_t reg[] = { 0, cpu_to_be32(s->sdev.reg), 0, 0 };
    int off, ret;

    ret = fdt_del_node(fdt, vio_off);
    if (ret) {
        return ret;
    }
    off = fdt_add_subnode(fdt, 0, name);
    if (off < 0) {
        return off;
    }
    ret = fdt_setprop(fdt, off, "reg", reg, sizeof(reg));
    if (!ret) {
        ret = fdt_setprop_string(fdt, off, "compatible", "IBM,lhea");
    }
    if (!ret) {
        ret = spapr_dt_my_drc(fdt, off, s->sdev.drc);
    }
    if (!ret) {
        ret = ehea_adapter_properties(s, fdt, off);
    }
    return ret ? ret : off;
}

/*
 * Called at reset and again when the guest negotiates its options, so it must
 * always make the same node. Both events give the guest all memory that is in
 * the machine now, though the guest says nothing about single LMBs. It is also
 * called when a guest that runs takes the adapter, which changes no memory.
 */
static int ehea_devnode(SpaprVioDevice *sdev, void *fdt, int off)
{
    SpaprEhea *s = SPAPR_EHEA(sdev);

    if (sdev->drc->state == SPAPR_DRC_STATE_LOGICAL_CONFIGURED) {
        spapr_ehea_ram_settled(s);
    }
    if (s->ibmebus) {
        return ehea_ibmebus_devnode(s, fdt, off);
    }
    return ehea_adapter_properties(s, fdt, off);
}

/*
 * Life
 */

static void ehea_reset(SpaprVioDevice *sdev)
{
    SpaprEhea *s = SPAPR_EHEA(sdev);

    /*
     * The timer is deleted first, since the model may set it anew. Frames that
     * wait for a busy backend belong to the old guest and are dropped. Their
     * callbacks would let the model send more of them, so this is done "inside"
     * the model, where such requests are only noted; restart forgets them.
     * Frames that wait to be received are offered again, since nothing holds
     * them back now.
     */
    s->owned = true;
    spapr_ehea_enter(s);
    timer_del(s->timer);
    spapr_ehea_net_purge(s);
    ehea_model_reset(s->model);
    spapr_ehea_net_restart(s);
    spapr_ehea_leave(s);
}

static struct ehea_model *ehea_create_model(SpaprEhea *s, hwaddr mmio_base)
{
    struct ehea_model_config config = {
        .abi_version = EHEA_MODEL_ABI,
        .num_ports = s->num_ports,
        .adapter_handle = s->adapter_handle,
        .mmio_base = mmio_base,
        .mmio_slots = EHEA_MMIO_SLOTS,
        .max_eqs = EHEA_IRQ_COUNT,
        .max_qps = s->max_queue_pairs,
        .max_mrs = s->max_mrs,
        .mr_page_sizes = s->mr_page_sizes | EHEA_MR_PAGE_SIZE_4K,
        .num_default_qps = s->num_queue_pairs,
        .flow_control = s->flow_control,
        .disabled_drops = s->disabled_drops,
        .temper = spapr_ehea_temper(s),
        .temper_seed = s->temper_seed,
        .reraise_ms = s->reraise_ms,
        .cmo = s->sdev.tcet != NULL,
    };

    for (unsigned i = 0; i < s->num_ports; i++) {
        memcpy(config.mac[i], s->port[i].conf.macaddr.a, ETH_ALEN);
    }
    return ehea_model_create(&config, &spapr_ehea_host, s);
}

static void ehea_realize(SpaprVioDevice *sdev, Error **errp)
{
    SpaprEhea *s = SPAPR_EHEA(sdev);
    hwaddr mmio_base;

    if (ehea_model_abi_version() != EHEA_MODEL_ABI) {
        error_setg(errp, "the adapter model has interface version %" PRIu32
                   ", this device needs %d", ehea_model_abi_version(),
                   EHEA_MODEL_ABI);
        return;
    }
    if (!spapr_ehea_check_properties(s, errp) ||
        !spapr_ehea_irq_init(s, errp)) {
        return;
    }

    mmio_base = EHEA_MMIO_BASE + s->window * EHEA_MMIO_WINDOW;
    s->timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, ehea_timer, s);
    s->model = ehea_create_model(s, mmio_base);
    if (!s->model) {
        timer_free(s->timer);
        s->timer = NULL;
        spapr_ehea_irq_cleanup(s);
        error_setg(errp, "the adapter model refuses this configuration");
        return;
    }

    ehea_watch_window(s, &ehea_tce_watch);
    memory_region_init_io(&s->mmio, OBJECT(s), &ehea_mmio_ops, s,
                          TYPE_SPAPR_EHEA, EHEA_MMIO_WINDOW);
    /* The guard would answer with a bus error and count nothing. */
    s->mmio.disable_reentrancy_guard = true;
    memory_region_add_subregion(get_system_memory(), mmio_base, &s->mmio);
    spapr_ehea_net_init(s);
    QLIST_INSERT_HEAD(&spapr_ehea_adapters, s, next);
    spapr_ehea_ram_init(s);
    spapr_ehea_ports_init(s);
}

static void ehea_unrealize(SpaprVioDevice *sdev)
{
    SpaprEhea *s = SPAPR_EHEA(sdev);

    spapr_ehea_ports_cleanup(s);
    spapr_ehea_ram_cleanup(s);
    ehea_watch_window(s, NULL);
    QLIST_REMOVE(s, next);
    ehea_reset(sdev);
    spapr_ehea_net_cleanup(s);
    memory_region_del_subregion(get_system_memory(), &s->mmio);
    timer_free(s->timer);
    ehea_model_destroy(s->model);
    s->model = NULL;
    spapr_ehea_irq_cleanup(s);
}

/*
 * Slots
 */

static const char *ehea_drc_type(SpaprVioDevice *sdev)
{
    return SPAPR_EHEA(sdev)->ibmebus ? TYPE_SPAPR_DRC_HEA : TYPE_SPAPR_DRC_VIO;
}

static bool ehea_is_in_use(SpaprVioDevice *sdev)
{
    SpaprEhea *s = SPAPR_EHEA(sdev);
    bool in_use;

    spapr_ehea_enter(s);
    in_use = ehea_model_in_use(s->model);
    spapr_ehea_leave(s);
    return in_use;
}

/* An adapter that the guest has given back does not answer. */
static void ehea_owned(SpaprVioDevice *sdev, bool owned)
{
    SPAPR_EHEA(sdev)->owned = owned;
}

static void ehea_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    SpaprVioDeviceClass *k = VIO_SPAPR_DEVICE_CLASS(klass);
    /* Counters and objects are in the model, which cannot be migrated. */
    static const VMStateDescription vmstate = {
        .name = TYPE_SPAPR_EHEA,
        .unmigratable = 1,
    };

    k->realize = ehea_realize;
    k->reset = ehea_reset;
    k->devnode = ehea_devnode;
    k->get_rtce_window_size = ehea_window_size;
    k->get_drc_type = ehea_drc_type;
    k->is_in_use = ehea_is_in_use;
    k->owned = ehea_owned;
    k->unrealize = ehea_unrealize;
    k->dt_name = "ethernet";
    k->dt_type = "network";
    k->dt_compatible = "IBM,lhea";
    dc->desc = "eHEA Ethernet adapter";
    dc->hotpluggable = true;
    dc->vmsd = &vmstate;
    set_bit(DEVICE_CATEGORY_NETWORK, dc->categories);
    spapr_ehea_add_properties(klass);
}

static const TypeInfo ehea_info = {
    .name          = TYPE_SPAPR_EHEA,
    .parent        = TYPE_VIO_SPAPR_DEVICE,
    .instance_size = sizeof(SpaprEhea),
    .class_init    = ehea_class_init,
};

static void ehea_register_types(void)
{
    static const target_ulong opcodes[] = {
        H_RESET_EVENTS, H_FREE_RESOURCE, H_REGISTER_SMR, H_ERROR_DATA,
        H_MODIFY_HEA_QP, H_QUERY_HEA_QP, H_QUERY_HEA, H_QUERY_HEA_PORT,
        H_MODIFY_HEA_PORT, H_REG_BCMC, H_DEREG_BCMC, H_REGISTER_HEA_RPAGES,
        H_DISABLE_AND_GET_HEA, H_GET_HEA_INFO, H_ALLOC_HEA_RESOURCE,
    };

    for (int i = 0; i < ARRAY_SIZE(opcodes); i++) {
        spapr_register_hypercall(opcodes[i], ehea_hcall);
    }
    type_register_static(&ehea_info);
}

type_init(ehea_register_types)
