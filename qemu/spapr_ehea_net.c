/* SPDX-License-Identifier: GPL-2.0 */
/*
 * eHEA adapter on the pseries VIO bus: ports and frames
 */

#include "qemu/osdep.h"
#include "net/net.h"
#include "spapr_ehea.h"

static unsigned ehea_port_index(SpaprEhea *s, SpaprEheaPort *port)
{
    return port - s->port;
}

/* Returns NULL for a port that does not exist or is connected to nothing. */
static SpaprEheaPort *ehea_port_with_nic(SpaprEhea *s, uint32_t i)
{
    return i < s->num_ports && s->port[i].nic ? &s->port[i] : NULL;
}

/* A NIC's opaque pointer is the device; its configuration tells the port. */
static SpaprEheaPort *ehea_nc_to_port(NetClientState *nc)
{
    return container_of(qemu_get_nic(nc)->conf, SpaprEheaPort, conf);
}

static bool ehea_can_receive(NetClientState *nc)
{
    SpaprEhea *s = qemu_get_nic_opaque(nc);
    unsigned i = ehea_port_index(s, ehea_nc_to_port(nc));
    bool ret;

    /* QEMU drops what is sent to a port without a link. */
    if (nc->link_down) {
        return true;
    }
    if (spapr_ehea_in_model(s)) {
        s->flush_mask |= BIT(i);
        return false;
    }
    spapr_ehea_enter(s);
    ret = ehea_model_can_rx(s->model, i);
    spapr_ehea_leave(s);
    return ret;
}

static ssize_t ehea_receive(NetClientState *nc, const uint8_t *buf, size_t size)
{
    SpaprEhea *s = qemu_get_nic_opaque(nc);
    unsigned i = ehea_port_index(s, ehea_nc_to_port(nc));
    bool taken;

    if (!size) {
        return -1;      /* 0 would mean: keep it for later */
    }
    if (spapr_ehea_in_model(s)) {
        s->flush_mask |= BIT(i);
        return 0;
    }
    spapr_ehea_enter(s);
    taken = ehea_model_rx_frame(s->model, i, buf, size);
    spapr_ehea_leave(s);
    return taken ? size : 0;
}

/*
 * Called when the link goes down or up, because of the user or the end of the
 * netdev. QEMU drops the frames of a link that is down, but not those that it
 * had queued for the port before, and these keep their sender waiting.
 */
static void ehea_link_status_changed(NetClientState *nc)
{
    SpaprEhea *s = qemu_get_nic_opaque(nc);
    unsigned i = ehea_port_index(s, ehea_nc_to_port(nc));

    spapr_ehea_enter(s);
    ehea_model_set_link(s->model, i, !nc->link_down);
    spapr_ehea_rx_flush(s, i);
    spapr_ehea_leave(s);
}

static void ehea_net_client_cleanup(NetClientState *nc)
{
    ehea_nc_to_port(nc)->nic = NULL;
}

static void ehea_tx_done(NetClientState *nc, ssize_t len)
{
    SpaprEhea *s = qemu_get_nic_opaque(nc);
    SpaprEheaPort *port = ehea_nc_to_port(nc);

    port->tx_busy = false;
    if (port->tx_waiting) {
        port->tx_waiting = false;
        s->ready_mask |= BIT(ehea_port_index(s, port));
        if (!spapr_ehea_in_model(s)) {
            spapr_ehea_enter(s);
            spapr_ehea_leave(s);
        }
    }
}

bool spapr_ehea_tx_frame(void *ctx, uint32_t i, const void *frame,
                         size_t len)
{
    SpaprEhea *s = ctx;
    SpaprEheaPort *port = ehea_port_with_nic(s, i);

    if (!port || qemu_get_queue(port->nic)->link_down) {
        return true;
    }
    if (port->tx_busy) {
        port->tx_waiting = true;
        return false;
    }
    /*
     * 0: the frame waits in QEMU's queue. It is out of the model's hands, but
     * the next one must wait for the callback. (Without a callback frames
     * beyond the queue's length would be dropped silently.)
     */
    if (!qemu_send_packet_async(qemu_get_queue(port->nic), frame, len,
                                ehea_tx_done)) {
        port->tx_busy = true;
    }
    return true;
}

void spapr_ehea_rx_flush(void *ctx, uint32_t i)
{
    SpaprEhea *s = ctx;

    if (ehea_port_with_nic(s, i)) {
        s->flush_mask |= BIT(i);
    }
}

static NetClientInfo ehea_net_info = {
    .type = NET_CLIENT_DRIVER_NIC,
    .size = sizeof(NICState),
    .can_receive = ehea_can_receive,
    .receive = ehea_receive,
    .link_status_changed = ehea_link_status_changed,
    .cleanup = ehea_net_client_cleanup,
};

void spapr_ehea_net_init(SpaprEhea *s)
{
    for (unsigned i = 0; i < s->num_ports; i++) {
        SpaprEheaPort *port = &s->port[i];
        g_autofree char *name = NULL;

        if (!port->conf.peers.ncs[0]) {
            continue;
        }
        /* Each port has its name: set_link changes all clients of one. */
        name = g_strdup_printf("%s.p%u", s->sdev.qdev.id, i + 1);
        port->nic = qemu_new_nic(&ehea_net_info, &port->conf, TYPE_SPAPR_EHEA,
                                 name, &s->sdev.qdev.mem_reentrancy_guard, s);
        qemu_format_nic_info_str(qemu_get_queue(port->nic),
                                 port->conf.macaddr.a);
    }
}

void spapr_ehea_net_cleanup(SpaprEhea *s)
{
    for (unsigned i = 0; i < s->num_ports; i++) {
        if (s->port[i].nic) {
            qemu_del_nic(s->port[i].nic);
        }
    }
}

void spapr_ehea_net_purge(SpaprEhea *s)
{
    for (unsigned i = 0; i < s->num_ports; i++) {
        if (s->port[i].nic) {
            qemu_purge_queued_packets(qemu_get_queue(s->port[i].nic));
        }
    }
}

void spapr_ehea_net_restart(SpaprEhea *s)
{
    s->ready_mask = 0;
    for (unsigned i = 0; i < s->num_ports; i++) {
        s->port[i].tx_waiting = false;
        spapr_ehea_rx_flush(s, i);
    }
}
