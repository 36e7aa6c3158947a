/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Interface between the adapter model (a Rust static library) and its QEMU device (C).
 *
 * Threading: every function of either side is called with QEMU's big lock held. A function of a model that is called while
 * another one of the same model runs (from inside a callback) has no effect. It is counted ("reentries" in statistics),
 * traced, and answered as each function says. The device ensures that this does not happen: while a function of the
 * model runs, it queues interrupts, frames and flush requests, and delivers them after the function has returned.
 * Guest addresses are guest real addresses of RAM; registers and words are in host byte order unless a name says otherwise.
 */
#ifndef EHEA_MODEL_H
#define EHEA_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EHEA_MODEL_ABI 7
#define EHEA_MODEL_PORTS_MAX 16
#define EHEA_MODEL_HCALL_ARGS 9
/* One register block per slot; the guest may have 64 KiB pages. */
#define EHEA_MODEL_SLOT_SIZE 0x10000
#define EHEA_MODEL_NO_DEADLINE UINT64_MAX

struct ehea_model;

/* Temper of an adapter towards its driver, within what the interface allows. */
enum ehea_temper {
    EHEA_TEMPER_CALM = 0,
    EHEA_TEMPER_ROUGH = 1,
    /* Rough, but firmware is busy only in calls that the C driver makes where it may sleep. */
    EHEA_TEMPER_ROUGH_SLEEPING = 2,
};

struct ehea_model_config {
    uint32_t abi_version;       /* EHEA_MODEL_ABI */
    uint32_t num_ports;         /* 0..EHEA_MODEL_PORTS_MAX; logical port numbers are 1..num_ports */
    uint64_t adapter_handle;    /* not 0 */
    uint64_t mmio_base;         /* guest real address of slot 0 */
    uint32_t mmio_slots;        /* register blocks: queue pairs plus completion queues */
    uint32_t max_eqs;           /* interrupt numbers that the device has for this adapter */
    uint32_t max_qps;
    uint32_t max_mrs;
    uint32_t mr_page_sizes;     /* capability mask, eHEA ABI section 12; 4 KiB is always supported */
    uint32_t num_default_qps;   /* queue pairs that each port asks its driver to open, 1..16 */
    uint8_t flow_control;       /* 1: a full receive FIFO holds frames back; 0: it drops them */
    uint8_t cmo;                /* 1: CMO partition, only what TCEs map may be accessed */
    uint8_t disabled_drops;     /* 1: frames for a disabled queue pair are lost; 0: they wait for it */
    uint8_t temper;             /* enum ehea_temper */
    uint32_t temper_seed;       /* determines the behaviour of a rough adapter */
    uint32_t reraise_ms;        /* time until a completion event that nobody heeds is raised again, not 0 */
    uint32_t reserved;          /* 0 */
    uint8_t mac[EHEA_MODEL_PORTS_MAX][8]; /* six octets each, then two zero octets */
};

enum ehea_trace_level { EHEA_TRACE_REFUSED = 0, EHEA_TRACE_EVENT = 1, EHEA_TRACE_VERBOSE = 2 };

/* Functions that the device provides to the model. ctx is the pointer given to ehea_model_create(). */
struct ehea_model_host {
    /* Copies len bytes. Returns 0, or -1 if any byte is not RAM (the buffer's contents are then unspecified). */
    int (*mem_read)(void *ctx, uint64_t gpa, void *buf, uint64_t len);
    int (*mem_write)(void *ctx, uint64_t gpa, const void *buf, uint64_t len);
    /* Stores 64 naturally aligned bits, big-endian, after all earlier stores are visible. Returns 0 or -1. */
    int (*mem_write_u64_be)(void *ctx, uint64_t gpa, uint64_t value);
    bool (*mem_is_ram)(void *ctx, uint64_t gpa, uint64_t len);
    /* Returns the number of bytes of RAM that the machine has now, including plugged memory. */
    uint64_t (*ram_size)(void *ctx);
    /* Allocates an interrupt number. Returns it, or -1 if none is free. */
    int64_t (*irq_alloc)(void *ctx);
    /* Frees an interrupt number. A pulse that is not delivered yet is forgotten. */
    void (*irq_free)(void *ctx, uint32_t irq);
    /* Raises an interrupt, after the function of the model has returned, in the order of the calls. */
    void (*irq_pulse)(void *ctx, uint32_t irq);
    /* Returns whether all processors of the guest wait for an interrupt and none is pending. */
    bool (*guest_is_idle)(void *ctx);
    /* Returns the virtual time in nanoseconds. */
    uint64_t (*now_ns)(void *ctx);
    /* Requests a call of ehea_model_run() at this virtual time; EHEA_MODEL_NO_DEADLINE cancels it. */
    void (*timer_set)(void *ctx, uint64_t deadline_ns);
    /* Sends a frame without CRC. port counts from 0. Returns false if the backend is busy; tx_ready() follows then. */
    bool (*tx_frame)(void *ctx, uint32_t port, const void *frame, size_t len);
    /* Notes that ehea_model_can_rx() of this port has become true again. */
    void (*rx_flush)(void *ctx, uint32_t port);
    bool (*trace_enabled)(void *ctx, uint32_t level);
    /* Emits a trace message. msg has len bytes of UTF-8 and is not terminated. */
    void (*trace)(void *ctx, uint32_t level, const char *msg, size_t len);
};

uint32_t ehea_model_abi_version(void);
/* Makes a model. Returns NULL if the configuration is not valid. config and host are copied. */
struct ehea_model *ehea_model_create(const struct ehea_model_config *config,
                                     const struct ehea_model_host *host, void *ctx);
void ehea_model_destroy(struct ehea_model *model);
/* Resets the model with the machine: releases every object and its interrupts. No object is counted as live then. */
void ehea_model_reset(struct ehea_model *model);

/* Handles a hypercall, with registers 4..12 in and out. Returns register 3; H_HARDWARE from inside the model. */
int64_t ehea_model_hcall(struct ehea_model *model, uint64_t opcode, uint64_t args[EHEA_MODEL_HCALL_ARGS]);
/*
 * Access a register. offset is from mmio_base; size is in bytes (anything but 8 is ignored and counted); the value is
 * the register's logical value. A read from inside the model returns 0.
 */
uint64_t ehea_model_mmio_read(struct ehea_model *model, uint64_t offset, uint32_t size);
void ehea_model_mmio_write(struct ehea_model *model, uint64_t offset, uint32_t size, uint64_t value);
/* Does the work that is due. The model sets its next deadline itself through timer_set(). */
void ehea_model_run(struct ehea_model *model, uint64_t now_ns);

/* port is an index 0..num_ports-1. */
bool ehea_model_can_rx(struct ehea_model *model, uint32_t port);
/* Receives a frame without CRC. Returns false, as from inside the model, if it must be held back until rx_flush(). */
bool ehea_model_rx_frame(struct ehea_model *model, uint32_t port, const void *frame, size_t len);
void ehea_model_tx_ready(struct ehea_model *model, uint32_t port);
/* Sets the link. A link that goes down ends every wait for tx_ready(), and that of the backend for rx_flush(). */
void ehea_model_set_link(struct ehea_model *model, uint32_t port, bool up);

/* Returns whether there is any object, or in a CMO partition any mapping: the guest cannot give the adapter back then. */
bool ehea_model_in_use(struct ehea_model *model);
/*
 * Take a port from the guest, and return it. After that of a port, firmware refuses all calls about it. Returns false, as
 * from inside the model, if the guest uses the port: it has queue pairs, or addresses are registered for it.
 */
bool ehea_model_port_give_back(struct ehea_model *model, uint32_t port);
void ehea_model_port_take_back(struct ehea_model *model, uint32_t port);

/* Notes that the guest gave this range back, or that it left the machine. */
void ehea_model_ram_removed(struct ehea_model *model, uint64_t gpa, uint64_t len);
/* Notes that the guest got this range, perhaps one that it had given back. */
void ehea_model_ram_returned(struct ehea_model *model, uint64_t gpa, uint64_t len);

/*
 * Note a change of the adapter's TCE table. They are not needed without config.cmo. Entries are as the guest gave them:
 * the address of a page of 4 KiB, with bit 1 if it may be read and bit 2 if it may be written.
 */
void ehea_model_tce_put(struct ehea_model *model, uint64_t from, uint64_t to);
/* Notes that all entries are 0 now. */
void ehea_model_tce_clear(struct ehea_model *model);
/* Notes that a hypercall is about to map memory. Returns 0, or the code that it must return: H_HARDWARE from inside. */
int64_t ehea_model_tce_hcall(struct ehea_model *model, uint64_t opcode);

/* Return NUL-terminated JSON of the model, valid until its next function is called; NULL from inside the model. */
const char *ehea_model_stats_json(struct ehea_model *model);
const char *ehea_model_faults_json(struct ehea_model *model);
/* Return NULL on success, else why the text was refused (same ownership as above). */
const char *ehea_model_fault_add(struct ehea_model *model, const char *json);
void ehea_model_fault_clear(struct ehea_model *model);
const char *ehea_model_port_link(struct ehea_model *model, const char *json);

#endif
