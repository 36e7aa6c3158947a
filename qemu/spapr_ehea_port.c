/* SPDX-License-Identifier: GPL-2.0 */
/*
 * eHEA adapter on the pseries VIO bus: nodes and connectors of its ports
 *
 * The guest can give back a port that it does not use, and take it again. The
 * port stays the guest's to take, whatever happens to the adapter.
 */

#include "qemu/osdep.h"
#include "hw/ppc/spapr_drc.h"
#include "spapr_ehea.h"

#include <libfdt.h>

#define TYPE_SPAPR_DRC_HEA_PORT "spapr-drc-hea-port"

/* The connectors of all adapters' ports have different names. */
static uint32_t ehea_port_drc_id(const SpaprEhea *s, unsigned i)
{
    return s->window * EHEA_MODEL_PORTS_MAX + i + 1;
}

static unsigned ehea_port_of_drc(const SpaprDrc *drc)
{
    return (drc->id - 1) % EHEA_MODEL_PORTS_MAX;
}

static int ehea_port_devnode(SpaprEhea *s, unsigned i, void *fdt, int parent)
{
    uint32_t port_no = i + 1;
    g_autofree char *name = g_strdup_printf("port@%x", port_no);
    int off, ret;

    off = fdt_add_subnode(fdt, parent, name);
    if (off < 0) {
        return off;
    }
    ret = fdt_setprop_cell(fdt, off, "reg", port_no);
    if (!ret) {
        ret = fdt_setprop_string(fdt, off, "device_type", "network");
    }
    if (!ret) {
        ret = fdt_setprop_string(fdt, off, "compatible", "IBM,lhea-ethernet");
    }
    if (!ret) {
        ret = fdt_setprop_cell(fdt, off, "ibm,hea-port-no", port_no);
    }
    if (!ret) {
        /* The port is the guest's for good. */
        ret = fdt_setprop_cell(fdt, off, "ibm,hea-port-tenure", 0);
    }
    if (!ret) {
        ret = spapr_dt_my_drc(fdt, off, s->port[i].drc);
    }
    return ret ? ret : off;
}

/* Adds the connectors of all ports, and the nodes of those that the guest has. */
int spapr_ehea_dt_ports(SpaprEhea *s, void *fdt, int off)
{
    int ret = spapr_dt_drc(fdt, off, OBJECT(s),
                           SPAPR_DR_CONNECTOR_TYPE_HEA_PORT);

    /* libfdt puts a new node in front of its siblings. */
    for (unsigned i = s->num_ports; ret >= 0 && i--; ) {
        if (s->port[i].drc->state == SPAPR_DRC_STATE_LOGICAL_CONFIGURED) {
            ret = ehea_port_devnode(s, i, fdt, off);
        }
    }
    return ret < 0 ? ret : 0;
}

static int ehea_port_dt_populate(SpaprDrc *drc, SpaprMachineState *spapr,
                                 void *fdt, int *fdt_start_offset, Error **errp)
{
    int off = ehea_port_devnode(SPAPR_EHEA(drc->dev), ehea_port_of_drc(drc),
                                fdt, 0);

    if (off < 0) {
        return off;
    }
    *fdt_start_offset = off;
    return 0;
}

/* Handlers of all logical connectors */
static uint32_t (*ehea_port_isolate_next)(SpaprDrc *drc);
static uint32_t (*ehea_port_unisolate_next)(SpaprDrc *drc);

static uint32_t ehea_port_isolate(SpaprDrc *drc)
{
    if (drc->state == SPAPR_DRC_STATE_LOGICAL_CONFIGURED) {
        SpaprEhea *s = SPAPR_EHEA(drc->dev);
        bool in_use;

        spapr_ehea_enter(s);
        in_use = !ehea_model_port_give_back(s->model, ehea_port_of_drc(drc));
        spapr_ehea_leave(s);
        if (in_use) {
            return RTAS_OUT_OUTSTANDING_TRANSLATIONS;
        }
    }
    return ehea_port_isolate_next(drc);
}

static uint32_t ehea_port_unisolate(SpaprDrc *drc)
{
    uint32_t ret = ehea_port_unisolate_next(drc);

    if (ret == RTAS_OUT_SUCCESS) {
        SpaprEhea *s = SPAPR_EHEA(drc->dev);

        spapr_ehea_enter(s);
        ehea_model_port_take_back(s->model, ehea_port_of_drc(drc));
        spapr_ehea_leave(s);
    }
    return ret;
}

void spapr_ehea_ports_init(SpaprEhea *s)
{
    for (unsigned i = 0; i < s->num_ports; i++) {
        s->port[i].drc = spapr_dr_connector_new(OBJECT(s),
                                                TYPE_SPAPR_DRC_HEA_PORT,
                                                ehea_port_drc_id(s, i));
        spapr_drc_attach(s->port[i].drc, DEVICE(s));
        /* They come with the adapter. */
        spapr_drc_reset(s->port[i].drc);
    }
}

void spapr_ehea_ports_cleanup(SpaprEhea *s)
{
    for (unsigned i = 0; i < s->num_ports; i++) {
        spapr_drc_forget_fdt(s->port[i].drc);
        object_unparent(OBJECT(s->port[i].drc));
        s->port[i].drc = NULL;
    }
}

static void ehea_port_drc_class_init(ObjectClass *klass, void *data)
{
    SpaprDrcClass *drck = SPAPR_DR_CONNECTOR_CLASS(klass);

    ehea_port_isolate_next = drck->isolate;
    ehea_port_unisolate_next = drck->unisolate;
    drck->typeshift = SPAPR_DR_CONNECTOR_TYPE_SHIFT_HEA_PORT;
    drck->typename = "PORT";
    drck->drc_name_prefix = "Port ";
    drck->isolate = ehea_port_isolate;
    drck->unisolate = ehea_port_unisolate;
    drck->dt_populate = ehea_port_dt_populate;
}

static const TypeInfo ehea_port_drc_info = {
    .name          = TYPE_SPAPR_DRC_HEA_PORT,
    .parent        = TYPE_SPAPR_DRC_LOGICAL,
    .class_init    = ehea_port_drc_class_init,
};

static void ehea_port_register_types(void)
{
    type_register_static(&ehea_port_drc_info);
}

type_init(ehea_port_register_types)
