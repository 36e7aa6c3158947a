/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Cooperative Memory Overcommitment (CMO) of the pseries machine
 *
 * In a CMO partition the memory that I/O devices of the VIO bus pin, by TCEs,
 * is to stay within an entitlement. The machine announces the entitlement and
 * accounts for it. The guest divides it among the devices.
 */
#ifndef HW_PPC_SPAPR_CMO_H
#define HW_PPC_SPAPR_CMO_H

#include "qom/object.h"

/* Adds the property cmo-entitlement to the machine class. */
void spapr_cmo_class_init(ObjectClass *klass);

/* Tests if the machine is a CMO partition; known once devices are made. */
bool spapr_cmo_is_on(void);

/*
 * Returns the value of the system parameter "CMO characteristics", to be freed;
 * NULL if the machine is not a CMO partition.
 */
char *spapr_cmo_characteristics(void);

#endif
