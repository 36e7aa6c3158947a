/* SPDX-License-Identifier: GPL-2.0 */
/*
 * eHEA adapter on the pseries VIO bus: properties of the QEMU device
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/host-utils.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "hw/boards.h"
#include "hw/qdev-properties.h"
#include "hw/qdev-properties-system.h"
#include "net/eth.h"
#include "spapr_ehea.h"

/* "HEA" and the unit address; an adapter's handle must not be 0. */
#define EHEA_DEFAULT_HANDLE(reg)  (0x4845410000000000ULL | (reg))
#define EHEA_PORTS_AUTO           UINT32_MAX
#define EHEA_QUEUE_PAIRS_MAX      16        /* of one port */
/* A queue pair can have two completion queues, and each of the three a slot. */
#define EHEA_ALL_QUEUE_PAIRS_MAX  (EHEA_MMIO_SLOTS / 3)
#define EHEA_MRS_MAX              0xFFFE    /* 16 bits of a handle */
#define EHEA_MR_PAGE_SIZES        0xF0000000U

/*
 * Checks at realize, and properties that are derived from others
 */

static bool ehea_mac_is_set(const MACAddr *mac)
{
    return !buffer_is_zero(mac->a, sizeof(mac->a));
}

static bool ehea_check_ports(SpaprEhea *s, Error **errp)
{
    uint32_t given = 0;

    for (unsigned i = 0; i < EHEA_MODEL_PORTS_MAX; i++) {
        NICConf *conf = &s->port[i].conf;

        if (conf->peers.ncs[0] || ehea_mac_is_set(&conf->macaddr)) {
            given = i + 1;
        }
    }
    if (s->num_ports == EHEA_PORTS_AUTO) {
        s->num_ports = given;
    }
    if (s->num_ports > EHEA_MODEL_PORTS_MAX) {
        error_setg(errp, "an adapter has at most %d ports",
                   EHEA_MODEL_PORTS_MAX);
        return false;
    }
    if (given > s->num_ports) {
        error_setg(errp, "netdev%u or mac%u is given, but the adapter has only "
                   "ports=%" PRIu32, given - 1, given - 1, s->num_ports);
        return false;
    }
    return true;
}

static bool ehea_has_mac(SpaprEhea *s, unsigned ports, const MACAddr *mac)
{
    for (unsigned i = 0; i < ports; i++) {
        if (!memcmp(&s->port[i].conf.macaddr, mac, sizeof(*mac))) {
            return true;
        }
    }
    return false;
}

/* Gives a port a unique address, or checks that the given one is unique. */
static bool ehea_assign_mac(SpaprEhea *s, unsigned i, Error **errp)
{
    MACAddr *mac = &s->port[i].conf.macaddr;
    bool given = ehea_mac_is_set(mac);
    SpaprEhea *other;
    bool used;

    qemu_macaddr_default_if_unset(mac);
    if (is_multicast_ether_addr(mac->a)) {
        error_setg(errp, "mac%u=" MAC_FMT " is a multicast address", i,
                   MAC_ARG(mac->a));
        return false;
    }
    used = ehea_has_mac(s, i, mac);
    QLIST_FOREACH(other, &spapr_ehea_adapters, next) {
        used |= ehea_has_mac(other, other->num_ports, mac);
    }
    if (used && !given) {
        error_setg(errp, "there is no default address left: give mac%u", i);
    } else if (used) {
        error_setg(errp, "mac%u=" MAC_FMT " is the address of another port", i,
                   MAC_ARG(mac->a));
    }
    return !used;
}

static bool ehea_check_limits(SpaprEhea *s, Error **errp)
{
    MachineState *machine = MACHINE(qdev_get_machine());
    hwaddr ram_end = ROUND_UP(machine->ram_size, SPAPR_DEVICE_MEM_ALIGN) +
                     (machine->maxram_size - machine->ram_size);

    if (s->max_queue_pairs < 1 ||
        s->max_queue_pairs > EHEA_ALL_QUEUE_PAIRS_MAX) {
        error_setg(errp, "max-queue-pairs must be from 1 to %d",
                   (int)EHEA_ALL_QUEUE_PAIRS_MAX);
        return false;
    }
    if (s->num_queue_pairs < 1 || s->num_queue_pairs > EHEA_QUEUE_PAIRS_MAX) {
        error_setg(errp, "num-queue-pairs must be from 1 to %d",
                   EHEA_QUEUE_PAIRS_MAX);
        return false;
    }
    if (s->max_mrs < 1 || s->max_mrs > EHEA_MRS_MAX) {
        error_setg(errp, "max-mrs must be from 1 to %d", EHEA_MRS_MAX);
        return false;
    }
    if (s->mr_page_sizes & ~EHEA_MR_PAGE_SIZES) {
        error_setg(errp, "mr-page-sizes=0x%" PRIx32 " has bits outside 0x%x",
                   s->mr_page_sizes, EHEA_MR_PAGE_SIZES);
        return false;
    }
    if (!s->dma_window_size || s->dma_window_size % SPAPR_TCE_PAGE_SIZE) {
        error_setg(errp, "dma-window-size must be a multiple of %llu",
                   SPAPR_TCE_PAGE_SIZE);
        return false;
    }
    if (ram_end > EHEA_MMIO_BASE) {
        error_setg(errp, "maxmem reaches the adapter's registers at 0x%llx",
                   EHEA_MMIO_BASE);
        return false;
    }
    return true;
}

enum ehea_temper spapr_ehea_temper(const SpaprEhea *s)
{
    if (g_strcmp0(s->temper, "rough")) {
        return EHEA_TEMPER_CALM;
    }
    return g_strcmp0(s->temper_busy, "sleeping") ? EHEA_TEMPER_ROUGH
                                                 : EHEA_TEMPER_ROUGH_SLEEPING;
}

/* Returns the index of a value; the first one if there is no value. */
static bool ehea_check_choice(const char *property, const char *value,
                              const char *first, const char *other,
                              Error **errp)
{
    if (value && strcmp(value, first) && strcmp(value, other)) {
        error_setg(errp, "%s=%s must be %s or %s", property, value, first,
                   other);
        return false;
    }
    return true;
}

/* Chooses a handle and a register window that no other adapter has. */
static bool ehea_assign_address(SpaprEhea *s, Error **errp)
{
    uint32_t windows = 0;
    SpaprEhea *other;

    if (!s->adapter_handle) {
        s->adapter_handle = EHEA_DEFAULT_HANDLE(s->sdev.reg);
    }
    QLIST_FOREACH(other, &spapr_ehea_adapters, next) {
        if (other->adapter_handle == s->adapter_handle) {
            error_setg(errp, "adapter-handle=0x%" PRIx64 " is the handle of %s",
                       s->adapter_handle, other->sdev.qdev.id);
            return false;
        }
        windows |= BIT(other->window);
    }
    s->window = cto32(windows);
    if (s->window >= EHEA_ADAPTERS_MAX) {
        error_setg(errp, "a machine has at most %d adapters",
                   EHEA_ADAPTERS_MAX);
        return false;
    }
    return true;
}

bool spapr_ehea_check_properties(SpaprEhea *s, Error **errp)
{
    if (!ehea_check_limits(s, errp) || !ehea_check_ports(s, errp) ||
        !ehea_check_choice("temper", s->temper, "calm", "rough", errp) ||
        !ehea_check_choice("temper-busy", s->temper_busy, "anywhere",
                           "sleeping", errp) ||
        !ehea_assign_address(s, errp)) {
        return false;
    }
    for (unsigned i = 0; i < s->num_ports; i++) {
        if (!ehea_assign_mac(s, i, errp)) {
            return false;
        }
    }
    return true;
}

/*
 * Properties for tests: statistics of the model, and faults on demand
 */

static bool ehea_is_realized(SpaprEhea *s, Error **errp)
{
    if (!s->model) {
        error_setg(errp, "the adapter is not there yet");
    }
    return s->model;
}

typedef const char *(*EheaModelGet)(struct ehea_model *model);
typedef const char *(*EheaModelSet)(struct ehea_model *model, const char *json);

static char *ehea_get_json(Object *obj, EheaModelGet get, Error **errp)
{
    SpaprEhea *s = SPAPR_EHEA(obj);
    char *json;

    if (!ehea_is_realized(s, errp)) {
        return NULL;
    }
    spapr_ehea_enter(s);
    json = g_strdup(get(s->model));     /* the text is the model's */
    spapr_ehea_leave(s);
    if (!json) {
        error_setg(errp, "the adapter cannot be asked now");
    }
    return json;
}

static void ehea_set_json(Object *obj, EheaModelSet set, const char *json,
                          Error **errp)
{
    SpaprEhea *s = SPAPR_EHEA(obj);
    const char *why;

    if (!ehea_is_realized(s, errp)) {
        return;
    }
    spapr_ehea_enter(s);
    why = set(s->model, json);
    if (why) {
        error_setg(errp, "%s", why);
    }
    spapr_ehea_leave(s);
}

static char *ehea_get_stats(Object *obj, Error **errp)
{
    return ehea_get_json(obj, ehea_model_stats_json, errp);
}

static char *ehea_get_fault(Object *obj, Error **errp)
{
    return ehea_get_json(obj, ehea_model_faults_json, errp);
}

static void ehea_set_fault(Object *obj, const char *json, Error **errp)
{
    ehea_set_json(obj, ehea_model_fault_add, json, errp);
}

static void ehea_set_port_link(Object *obj, const char *json, Error **errp)
{
    ehea_set_json(obj, ehea_model_port_link, json, errp);
}

static void ehea_set_fault_clear(Object *obj, bool clear, Error **errp)
{
    SpaprEhea *s = SPAPR_EHEA(obj);

    if (clear && ehea_is_realized(s, errp)) {
        spapr_ehea_enter(s);
        ehea_model_fault_clear(s->model);
        spapr_ehea_leave(s);
    }
}

#define EHEA_PORT_PROPERTIES(n)                                             \
    DEFINE_PROP_MACADDR("mac" #n, SpaprEhea, port[n].conf.macaddr),         \
    DEFINE_PROP_NETDEV("netdev" #n, SpaprEhea, port[n].conf.peers)

static const Property ehea_properties[] = {
    DEFINE_SPAPR_PROPERTIES(SpaprEhea, sdev),
    DEFINE_PROP_UINT64("adapter-handle", SpaprEhea, adapter_handle, 0),
    DEFINE_PROP_UINT32("ports", SpaprEhea, num_ports, EHEA_PORTS_AUTO),
    DEFINE_PROP_BOOL("flow-control", SpaprEhea, flow_control, true),
    DEFINE_PROP_BOOL("disabled-drops", SpaprEhea, disabled_drops, false),
    DEFINE_PROP_STRING("temper", SpaprEhea, temper),
    DEFINE_PROP_STRING("temper-busy", SpaprEhea, temper_busy),
    DEFINE_PROP_UINT32("temper-seed", SpaprEhea, temper_seed, 1),
    DEFINE_PROP_UINT32("reraise-ms", SpaprEhea, reraise_ms, 20),
    DEFINE_PROP_SIZE32("dma-window-size", SpaprEhea, dma_window_size, 1 * GiB),
    DEFINE_PROP_BOOL("ibmebus", SpaprEhea, ibmebus, false),
    DEFINE_PROP_UINT32("max-queue-pairs", SpaprEhea, max_queue_pairs, 64),
    DEFINE_PROP_UINT32("max-mrs", SpaprEhea, max_mrs, 64),
    DEFINE_PROP_UINT32("mr-page-sizes", SpaprEhea, mr_page_sizes,
                       EHEA_MR_PAGE_SIZE_4K),
    DEFINE_PROP_UINT32("num-queue-pairs", SpaprEhea, num_queue_pairs, 1),
    EHEA_PORT_PROPERTIES(0),  EHEA_PORT_PROPERTIES(1),
    EHEA_PORT_PROPERTIES(2),  EHEA_PORT_PROPERTIES(3),
    EHEA_PORT_PROPERTIES(4),  EHEA_PORT_PROPERTIES(5),
    EHEA_PORT_PROPERTIES(6),  EHEA_PORT_PROPERTIES(7),
    EHEA_PORT_PROPERTIES(8),  EHEA_PORT_PROPERTIES(9),
    EHEA_PORT_PROPERTIES(10), EHEA_PORT_PROPERTIES(11),
    EHEA_PORT_PROPERTIES(12), EHEA_PORT_PROPERTIES(13),
    EHEA_PORT_PROPERTIES(14), EHEA_PORT_PROPERTIES(15),
};

static const struct {
    const char *name, *text;
} ehea_descriptions[] = {
    { "reg", "unit address on the VIO bus, the next free one by default" },
    { "adapter-handle", "64-bit handle of the adapter in hypercalls; "
      "made from the unit address by default" },
    { "ports", "number of ports, 0 to 16; by default up to the last one that "
      "has a netdev or an address" },
    { "flow-control", "on: a full receive FIFO holds the sender back; "
      "off: it drops frames" },
    { "disabled-drops", "on: frames for a disabled queue pair are lost; "
      "off: they wait until it is enabled" },
    { "temper", "calm (default); rough: firmware is busy now and then, "
      "and the adapter is slow and out of order" },
    { "temper-busy", "where firmware is busy if temper=rough: anywhere "
      "(default), or sleeping: only in calls that Linux 6.12's driver makes "
      "where it may sleep" },
    { "temper-seed", "what temper=rough does depends on it" },
    { "reraise-ms", "milliseconds until a completion event that nobody heeds "
      "is raised again, as if an interrupt had been lost" },
    { "dma-window-size", "bytes of the DMA window that the adapter has in a "
      "CMO partition, a multiple of 4 KiB" },
    { "ibmebus", "on: the device tree node is a child of the root, as on "
      "POWER6 and POWER7 machines; off: it is on the VIO bus" },
    { "max-queue-pairs", "queue pairs of the adapter, 1 to 85" },
    { "max-mrs", "memory regions of the adapter" },
    { "mr-page-sizes", "mask of page sizes for memory regions: 0x80000000 "
      "4 KiB (always), 0x40000000 64 KiB, 0x20000000 1 MiB, "
      "0x10000000 16 MiB" },
    { "num-queue-pairs", "queue pairs that a port asks its driver to open, "
      "1 to 16" },
    { "stats", "JSON of everything the adapter counts (read only)" },
    { "fault", "write: JSON of a fault to arm; read: JSON list of the armed "
      "faults and how often each has fired" },
    { "fault-clear", "write true: disarm all faults" },
    { "port-link", "write: external link of a port, as JSON: "
      "{\"port\": 1, \"up\": false}" },
};

static void ehea_describe_port(ObjectClass *klass, const char *prefix, int i,
                               const char *what)
{
    g_autofree char *name = g_strdup_printf("%s%d", prefix, i);
    g_autofree char *text = g_strdup_printf("%s port %d", what, i + 1);

    object_class_property_set_description(klass, name, text);
}

void spapr_ehea_add_properties(ObjectClass *klass)
{
    device_class_set_props(DEVICE_CLASS(klass), ehea_properties);

    object_class_property_add_str(klass, "stats", ehea_get_stats, NULL);
    object_class_property_add_str(klass, "fault", ehea_get_fault,
                                  ehea_set_fault);
    object_class_property_add_bool(klass, "fault-clear", NULL,
                                   ehea_set_fault_clear);
    object_class_property_add_str(klass, "port-link", NULL,
                                  ehea_set_port_link);
    for (int i = 0; i < ARRAY_SIZE(ehea_descriptions); i++) {
        object_class_property_set_description(klass, ehea_descriptions[i].name,
                                              ehea_descriptions[i].text);
    }
    for (int i = 0; i < EHEA_MODEL_PORTS_MAX; i++) {
        ehea_describe_port(klass, "mac", i, "MAC address of");
        ehea_describe_port(klass, "netdev", i, "netdev for");
    }
}
