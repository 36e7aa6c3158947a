// SPDX-License-Identifier: GPL-2.0

//! Hypercalls (§3): opcodes, return codes, and the register images of arguments and results.
//!
//! A call has nine argument registers, 4 to 12, which also carry its results; both are [`Regs`].
//! Each call has a type for its logical arguments, which the driver packs (`pack`) and the adapter
//! unpacks (`unpack`). A call that returns something also has a type for its results, which the
//! adapter packs and the driver unpacks.

use core::fmt;

mod alloc;
mod control;
mod held;
mod memory;

pub use alloc::{
    AllocCq, AllocEq, AllocMr, AllocQp, CqAllocated, EqAllocated, EqKind, MrAllocated, QpAllocated,
    ResourceType, RqSlots, ACCESS_LOCAL_WRITE, ACCESS_REMOTE,
};
pub use control::{
    BcmcArgs, BcmcScope, DisableAndGetHea, ErrorData, PortCall, QpCall, QpCategory, QpModified,
    QueryHea, ResetEvents,
};
pub use held::Held;
pub use memory::{FreeResource, QueueSelect, RegisterRpages, RegisterSmr, MAX_PAGES_PER_CALL};

/// Registers 4 to 12.
pub type Regs = [u64; 9];

/// A hypercall number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opcode(pub u64);

macro_rules! opcodes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl Opcode {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// All calls of the adapter.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the call's name in the platform's documentation, or `None` if it is not one
            /// of the adapter's calls.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

opcodes! {
    /// Withdraws pending events of a notification event queue.
    RESET_EVENTS = 0x15c, "H_RESET_EVENTS";
    /// Frees a queue, queue pair or memory region.
    FREE_RESOURCE = 0x164, "H_FREE_RESOURCE";
    /// Makes a shared memory region.
    REGISTER_SMR = 0x174, "H_REGISTER_SMR";
    /// Fetches error data of a resource.
    ERROR_DATA = 0x1b4, "H_ERROR_DATA";
    /// Modifies a queue pair.
    MODIFY_HEA_QP = 0x250, "H_MODIFY_HEA_QP";
    /// Queries a queue pair.
    QUERY_HEA_QP = 0x254, "H_QUERY_HEA_QP";
    /// Queries the adapter.
    QUERY_HEA = 0x258, "H_QUERY_HEA";
    /// Queries a port.
    QUERY_HEA_PORT = 0x25c, "H_QUERY_HEA_PORT";
    /// Modifies a port.
    MODIFY_HEA_PORT = 0x260, "H_MODIFY_HEA_PORT";
    /// Registers a broadcast or multicast address.
    REG_BCMC = 0x264, "H_REG_BCMC";
    /// Withdraws the registration of a broadcast or multicast address.
    DEREG_BCMC = 0x268, "H_DEREG_BCMC";
    /// Registers pages of a queue or memory region.
    REGISTER_HEA_RPAGES = 0x26c, "H_REGISTER_HEA_RPAGES";
    /// Disables a queue pair and reports its positions.
    DISABLE_AND_GET_HEA = 0x270, "H_DISABLE_AND_GET_HEA";
    /// Undocumented; the adapter model answers `H_FUNCTION`.
    GET_HEA_INFO = 0x274, "H_GET_HEA_INFO";
    /// Allocates a queue, queue pair or memory region.
    ALLOC_HEA_RESOURCE = 0x278, "H_ALLOC_HEA_RESOURCE";
}

impl Opcode {
    /// Returns the call with the name `name`, or `None` if it is not one of the adapter's calls.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|op| op.name() == Some(name))
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "hypercall {:#x}", self.0),
        }
    }
}

/// Return code of a hypercall, in register 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReturnCode(pub i64);

macro_rules! return_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl ReturnCode {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// All codes that have a name here.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the code's name in the platform's documentation, or `None` if it has no name
            /// here.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

return_codes! {
    /// The call has done its work.
    SUCCESS = 0, "H_SUCCESS";
    /// Firmware is busy; the caller may try again.
    BUSY = 1, "H_BUSY";
    /// Pages are registered, more are expected.
    PAGE_REGISTERED = 15, "H_PAGE_REGISTERED";
    /// Busy: try the same call again after 1 ms.
    LONG_BUSY_ORDER_1_MSEC = 9900, "H_LONG_BUSY_ORDER_1_MSEC";
    /// Busy: try the same call again after 10 ms.
    LONG_BUSY_ORDER_10_MSEC = 9901, "H_LONG_BUSY_ORDER_10_MSEC";
    /// Busy: try the same call again after 100 ms.
    LONG_BUSY_ORDER_100_MSEC = 9902, "H_LONG_BUSY_ORDER_100_MSEC";
    /// Busy: try the same call again after 1 s.
    LONG_BUSY_ORDER_1_SEC = 9903, "H_LONG_BUSY_ORDER_1_SEC";
    /// Busy: try the same call again after 10 s.
    LONG_BUSY_ORDER_10_SEC = 9904, "H_LONG_BUSY_ORDER_10_SEC";
    /// Busy: try the same call again after 100 s.
    LONG_BUSY_ORDER_100_SEC = 9905, "H_LONG_BUSY_ORDER_100_SEC";
    /// The hardware failed.
    HARDWARE = -1, "H_HARDWARE";
    /// The call is not available.
    FUNCTION = -2, "H_FUNCTION";
    /// The caller is not privileged.
    PRIVILEGE = -3, "H_PRIVILEGE";
    /// An argument is not valid.
    PARAMETER = -4, "H_PARAMETER";
    /// Firmware has no memory.
    NO_MEM = -9, "H_NO_MEM";
    /// The partition may not do this.
    AUTHORITY = -10, "H_AUTHORITY";
    /// The resource is in use or not there.
    RESOURCE = -16, "H_RESOURCE";
    /// The adapter handle is not valid.
    ADAPTER_PARM = -17, "H_ADAPTER_PARM";
    /// The resource handle is not valid.
    RH_PARM = -18, "H_RH_PARM";
    /// The receive completion queue's handle is not valid.
    RCQ_PARM = -19, "H_RCQ_PARM";
    /// The send completion queue's handle is not valid.
    SCQ_PARM = -20, "H_SCQ_PARM";
    /// The event queue's handle is not valid.
    EQ_PARM = -21, "H_EQ_PARM";
    /// The resource type is not valid.
    RT_PARM = -22, "H_RT_PARM";
    /// The service type is not valid.
    ST_PARM = -23, "H_ST_PARM";
    /// The signalling type is not valid.
    SIGT_PARM = -24, "H_SIGT_PARM";
    /// The token is not valid.
    TOKEN_PARM = -25, "H_TOKEN_PARM";
    /// The length of the memory region is not valid.
    MLENGTH_PARM = -27, "H_MLENGTH_PARM";
    /// The memory address is not valid.
    MEM_PARM = -28, "H_MEM_PARM";
    /// The access control word is not valid.
    MEM_ACCESS_PARM = -29, "H_MEM_ACCESS_PARM";
    /// An attribute is not valid.
    ATTR_PARM = -30, "H_ATTR_PARM";
    /// The port is not valid.
    PORT_PARM = -31, "H_PORT_PARM";
    /// The multicast group is not valid.
    MCG_PARM = -32, "H_MCG_PARM";
    /// The virtual lane is not valid.
    VL_PARM = -33, "H_VL_PARM";
    /// The selection mask is not valid.
    MASK_PARM = -37, "H_MASK_PARM";
    /// The table of multicast groups is full.
    MCG_FULL = -38, "H_MCG_FULL";
    /// The alias exists.
    ALIAS_EXIST = -39, "H_ALIAS_EXIST";
    /// The table is full.
    TABLE_FULL = -41, "H_TABLE_FULL";
    /// The memory region is not in the condition for this.
    MR_CONDITION = -43, "H_MR_CONDITION";
    /// The adapter does not have enough resources.
    NOT_ENOUGH_RESOURCES = -44, "H_NOT_ENOUGH_RESOURCES";
    /// The resource is in the wrong state.
    R_STATE = -45, "H_R_STATE";
    /// The resource was taken away.
    RESCINDED = -46, "H_RESCINDED";
}

impl ReturnCode {
    /// Checks whether the call has done all of its work. [`ReturnCode::PAGE_REGISTERED`] does not
    /// count as such.
    pub const fn is_success(self) -> bool {
        self.0 == Self::SUCCESS.0
    }

    /// Returns the time in milliseconds after which the same call should be repeated, or `None` if
    /// the code is not a long-busy answer.
    pub const fn long_busy_ms(self) -> Option<u32> {
        match self {
            Self::LONG_BUSY_ORDER_1_MSEC => Some(1),
            Self::LONG_BUSY_ORDER_10_MSEC => Some(10),
            Self::LONG_BUSY_ORDER_100_MSEC => Some(100),
            Self::LONG_BUSY_ORDER_1_SEC => Some(1_000),
            Self::LONG_BUSY_ORDER_10_SEC => Some(10_000),
            Self::LONG_BUSY_ORDER_100_SEC => Some(100_000),
            _ => None,
        }
    }

    /// Returns the code with the name `name`, or `None` if no code here has it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rc| rc.name() == Some(name))
    }
}

impl fmt::Display for ReturnCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "return code {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(
            Opcode::from_name("H_REGISTER_HEA_RPAGES"),
            Some(Opcode(0x26c))
        );
        assert_eq!(Opcode(0x278).to_string(), "H_ALLOC_HEA_RESOURCE");
        assert_eq!(Opcode(4).to_string(), "hypercall 0x4");
        assert_eq!(ReturnCode::from_name("H_AUTHORITY"), Some(ReturnCode(-10)));
        assert_eq!(ReturnCode(-44).to_string(), "H_NOT_ENOUGH_RESOURCES (-44)");
        assert_eq!(ReturnCode(-999).to_string(), "return code -999");
    }

    #[test]
    fn long_busy() {
        assert_eq!(ReturnCode(9903).long_busy_ms(), Some(1000));
        assert_eq!(ReturnCode(9906).long_busy_ms(), None);
        assert_eq!(ReturnCode::BUSY.long_busy_ms(), None);
    }
}
