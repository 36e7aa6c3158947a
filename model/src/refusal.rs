// SPDX-License-Identifier: GPL-2.0

//! Everything that the adapter refuses, each with its answer and its name.

use std::fmt;

use ehea_abi::bits::Bits64;
use ehea_abi::hcall::ReturnCode;

macro_rules! refusals {
    ($($name:ident => $code:ident, $text:literal;)*) => {
        /// Reason why a hypercall was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Refusal {
            $(#[doc = $text] $name,)*
        }

        impl Refusal {
            /// All reasons.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the return code. The model chooses which mistake gives which code (§3.0).
            pub const fn code(self) -> ReturnCode {
                match self {
                    $(Self::$name => ReturnCode::$code,)*
                }
            }

            /// Returns the name under which the refusal is counted.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

refusals! {
    AdapterHandle => ADAPTER_PARM, "the adapter handle is not ours";
    UnknownOpcode => FUNCTION, "there is no such call";
    NotImplemented => FUNCTION, "the call is not documented";
    ResourceType => RT_PARM, "the resource type is not valid";
    ResourceHandle => RH_PARM, "the resource handle is not valid";
    BlockAddress => PARAMETER, "the address of a control block or list is not aligned or not RAM";
    SelectionMask => MASK_PARM, "the selection mask is empty or has bits that mean nothing";
    ReadOnlyAttribute => ATTR_PARM, "a selected attribute cannot be modified";
    AttributeValue => ATTR_PARM, "the value of an attribute is not valid";
    PortNumber => PORT_PARM, "there is no such port";
    PortNotOwned => AUTHORITY, "the guest has given the port back";
    PortCategory => PARAMETER, "the port control block is not supported";
    EqOptions => PARAMETER, "the options of the event queue are not valid";
    EqSize => PARAMETER, "the event queue is empty or too large";
    EqLimit => NOT_ENOUGH_RESOURCES, "there are no more event queues";
    NeqLimit => NOT_ENOUGH_RESOURCES, "there are no more notification event queues";
    InterruptLimit => NOT_ENOUGH_RESOURCES, "there are no more interrupts";
    EqHandle => EQ_PARM, "the event queue handle is not valid or of the wrong kind";
    EqInUse => R_STATE, "the event queue is in use";
    CqSize => PARAMETER, "the completion queue is empty or too large";
    CqLimit => NOT_ENOUGH_RESOURCES, "there are no more completion queues";
    RegisterLimit => NOT_ENOUGH_RESOURCES, "there are no more register blocks";
    SendCqHandle => SCQ_PARM, "the send completion queue handle is not valid";
    RecvCqHandle => RCQ_PARM, "the receive completion queue handle is not valid";
    CqInUse => R_STATE, "the completion queue is in use";
    QpOptions => PARAMETER, "the options of the queue pair are not supported";
    QpSignalling => SIGT_PARM, "the signalling type is not supported";
    QpSizes => PARAMETER, "a queue's size or slot size is not supported";
    QpLimit => NOT_ENOUGH_RESOURCES, "there are no more queue pairs";
    QpHandle => RH_PARM, "the queue pair handle is not valid";
    QpCategory => PARAMETER, "the queue pair control block is not supported";
    QpState => PARAMETER, "the requested queue pair state does not exist";
    QpTransition => R_STATE, "the queue pair cannot go to that state from where it is";
    QpIncomplete => R_STATE, "not all pages of the queue pair and its queues are registered";
    QpEnabled => R_STATE, "the queue pair was not disabled";
    DisableReport => PARAMETER, "there is no such report";
    MrLength => MLENGTH_PARM, "the length of the memory region is 0, not in pages, or more than memory";
    MrStart => MEM_PARM, "the start of the memory region is not aligned or its end overflows";
    MrAccess => MEM_ACCESS_PARM, "the access control word is not supported";
    MrPageSize => PARAMETER, "the page size is not supported";
    MrLimit => NOT_ENOUGH_RESOURCES, "there are no more memory regions";
    MrHandle => RH_PARM, "the memory region handle is not valid";
    MrIncomplete => MR_CONDITION, "not all pages of the memory region are registered";
    MrInUse => R_STATE, "the memory region is shared";
    SmrLimit => NOT_ENOUGH_RESOURCES, "there are no more shared memory regions";
    PageCount => PARAMETER, "the number of pages is not valid";
    PagesExceed => PARAMETER, "more pages than the resource has";
    PageSize => PARAMETER, "the page size is not the resource's";
    PageAlignment => PARAMETER, "a page is not aligned to its size";
    PageNotRam => MEM_PARM, "a page is not RAM";
    TranslationLimit => NOT_ENOUGH_RESOURCES, "there is no more room for pieces of memory";
    QueueSelect => PARAMETER, "the resource has no such queue";
    BcmcScope => PARAMETER, "the registration type is not valid";
    BcmcAddress => MCG_PARM, "the address does not fit the registration type";
    BcmcLimit => MCG_FULL, "there are no more multicast addresses";
    NoErrorData => R_STATE, "there is no error data";
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text(), self.name())
    }
}

macro_rules! violations {
    ($($name:ident => $side:ident, $bit:literal, $text:literal;)*) => {
        /// Reason why a queue pair was stopped. The model chooses which bit of which error register
        /// stands for it (§4.5).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Violation {
            $(#[doc = $text] $name,)*
        }

        impl Violation {
            /// All reasons.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the name under which the violation is counted.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            pub(crate) const fn aer(self) -> u64 {
                match self {
                    $(Self::$name => Bits64::bit($bit).mask(),)*
                }
            }

            pub(crate) const fn is_access(self) -> bool {
                match self {
                    $(Self::$name => matches!(Side::$side, Side::Access),)*
                }
            }
        }
    };
}

enum Side {
    /// A memory access that was not made.
    Access,
    /// A work request or doorbell that makes no sense.
    Work,
}

violations! {
    UnknownKey => Access, 0, "a descriptor's key names no memory region";
    ForeignKey => Access, 1, "a descriptor's memory region is of another protection domain";
    OutsideRegion => Access, 2, "a descriptor reaches outside its memory region";
    RegionIncomplete => Access, 3, "a descriptor's memory region is not completely registered";
    WriteProtected => Access, 4, "a receive descriptor's memory region is not writable";
    MemoryGone => Access, 5, "a descriptor's memory left the machine";
    QueueMemoryGone => Access, 6, "a queue's memory left the machine";
    NotMapped => Access, 7, "a descriptor's memory is not mapped for the adapter";
    CompletionQueueGone => Work, 8, "the completion queue is gone";
    CompletionQueueFull => Work, 9, "the send completion queue is full";
    SendQueueOverrun => Work, 10, "more send work requests than slots were announced";
    ReceiveQueueOverrun => Work, 11, "more receive work requests than slots were announced";
    QueueNotMapped => Access, 12, "a queue's memory is not mapped for the adapter";
    SendFormat => Work, 16, "a send work request has neither immediate data nor descriptors";
    SendImmediate => Work, 17, "a send work request has more immediate data than room";
    SendDescriptors => Work, 18, "a send work request has no descriptors or more than fit";
    FrameTooShort => Work, 19, "a frame to send is shorter than its header";
    FrameTooLong => Work, 20, "a frame to send is too long";
    ChecksumHeader => Work, 21, "checksum offload of a frame that is not what the request says";
    SegmentHeader => Work, 22, "segmentation of a frame that is not what the request says";
    SegmentSize => Work, 23, "segments of size 0 or longer than a frame";
    ReceiveDescriptors => Work, 24, "a receive work request has no descriptors or more than fit";
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names = Refusal::ALL.iter().map(|r| r.name());
        let mut all: Vec<_> = names
            .chain(Violation::ALL.iter().map(|v| v.name()))
            .collect();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    /// A guest recognises success by the sign and by these two values.
    #[test]
    fn codes_are_errors() {
        assert!(Refusal::ALL.iter().all(|r| r.code().0 < 0));
    }

    /// Every violation makes the driver set the port up again (§9.7).
    #[test]
    fn error_bits_are_distinct_and_fatal() {
        let mut seen = Bits64::bit(39).mask();
        for v in Violation::ALL {
            assert_eq!(seen & v.aer(), 0, "{v:?}");
            seen |= v.aer();
        }
    }
}
