// SPDX-License-Identifier: GPL-2.0
//! What the driver is known to do wrong by itself. The model shows each of these; that ours does better
//! is shown by the scenario of the same name in `tests/scenarios`.
