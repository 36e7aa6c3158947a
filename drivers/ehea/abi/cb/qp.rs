// SPDX-License-Identifier: GPL-2.0

//! Queue pair control blocks (§4.2, §4.3).

use core::mem::{offset_of, size_of};
use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::super::bits::Bits64;

/// Queue pair control block 0: state and sizes.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct QpBlock0 {
    /// Control register: [`QpControl`].
    pub control: U64,
    /// Number of entries of the send queue.
    pub max_swqes: U32,
    /// Number of entries of the receive queues.
    pub max_rwqes: U32,
    /// Logical port number.
    pub port_number: U32,
    /// Reserved.
    pub reserved: U32,
    /// Affiliated error register.
    pub aer: U64,
    /// Tenure.
    pub tenure: U64,
}

const _: () = {
    assert!(size_of::<QpBlock0>() == 0x28);
    assert!(offset_of!(QpBlock0, max_rwqes) == 0x0c);
    assert!(offset_of!(QpBlock0, aer) == 0x18);
    assert!(offset_of!(QpBlock0, tenure) == 0x20);
};

impl QpBlock0 {
    /// Selects the control register.
    pub const SELECT_CONTROL: Bits64 = Bits64::bit(0);
    /// Selects the send queue's size.
    pub const SELECT_MAX_SWQES: Bits64 = Bits64::bit(1);
    /// Selects the receive queues' size.
    pub const SELECT_MAX_RWQES: Bits64 = Bits64::bit(2);
    /// Selects the port number.
    pub const SELECT_PORT_NUMBER: Bits64 = Bits64::bit(3);
    /// Selects the affiliated error register.
    pub const SELECT_AER: Bits64 = Bits64::bit(4);
    /// Selects the tenure.
    pub const SELECT_TENURE: Bits64 = Bits64::bit(5);
    /// Selects everything.
    pub const SELECT_ALL: Bits64 = Bits64::range(0, 5);
}

/// Queue pair control block 1: the objects to which the queue pair is bound.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct QpBlock1 {
    /// Queue pair number.
    pub qp_number: U32,
    /// Number of the event queue for asynchronous events.
    pub async_eq: U32,
    /// Handle of the send completion queue.
    pub send_cq: U64,
    /// Handle of the receive completion queue.
    pub recv_cq: U64,
    /// Number of gather elements of the send queue.
    pub sge_sq: U32,
    /// Number of scatter elements of RQ1, RQ2 and RQ3.
    pub sge_rq: [U32; 3],
}

const _: () = assert!(size_of::<QpBlock1>() == 0x28);

impl QpBlock1 {
    /// Selects everything.
    pub const SELECT_ALL: Bits64 = Bits64::range(0, 7);
}

/// State of a queue pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QpState {
    /// State after allocation.
    #[default]
    Reset,
    /// Initialised, not yet ready to receive.
    Initialized,
    /// Ready to receive.
    ReadyToReceive,
    /// Ready to send and receive.
    ReadyToSend,
    /// Stopped by an error.
    Error,
}

/// Queue pair control register.
///
/// One field requests a state and another field reports it. Both use the same codes, but the second
/// has seven bits and reports ERROR as 0. Requesting code 0 leaves the state as it is and changes
/// the enable bit only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QpControl(pub u64);

impl QpControl {
    const ENABLED: Bits64 = Bits64::bit(0);
    const REQUEST: Bits64 = Bits64::range(16, 23);
    const RESULT: Bits64 = Bits64::range(25, 31);

    const fn code(state: QpState) -> u64 {
        match state {
            QpState::Reset => 1,
            QpState::Initialized => 2,
            QpState::ReadyToReceive => 3,
            QpState::ReadyToSend => 5,
            QpState::Error => 0x80,
        }
    }

    const fn state(code: u64) -> Option<QpState> {
        match code {
            1 => Some(QpState::Reset),
            2 => Some(QpState::Initialized),
            3 => Some(QpState::ReadyToReceive),
            5 => Some(QpState::ReadyToSend),
            0x80 => Some(QpState::Error),
            _ => None,
        }
    }

    /// Returns the value that requests `state`.
    pub const fn request(state: QpState, enabled: bool) -> Self {
        Self(Self::REQUEST.set(Self::code(state)) | Self::ENABLED.flag(enabled))
    }

    /// Returns the value that requests the state which `self` reports, so that only the enable bit
    /// changes.
    pub const fn same_state(self, enabled: bool) -> Self {
        Self(Self::REQUEST.set(Self::RESULT.get(self.0)) | Self::ENABLED.flag(enabled))
    }

    /// Returns the value that a queue pair in `state` reports.
    pub const fn result(state: QpState, enabled: bool) -> Self {
        let code = match state {
            QpState::Error => 0,
            _ => Self::code(state),
        };
        Self(Self::RESULT.set(code) | Self::ENABLED.flag(enabled))
    }

    /// Checks whether the queue pair is enabled, or is requested to be.
    pub const fn is_enabled(self) -> bool {
        Self::ENABLED.is_set(self.0)
    }

    /// Returns the requested state.
    ///
    /// `Ok(None)` means "unchanged".
    ///
    /// # Errors
    ///
    /// [`UnknownState`] for a code that does not exist.
    pub const fn requested(self) -> Result<Option<QpState>, UnknownState> {
        match Self::REQUEST.get(self.0) {
            0 => Ok(None),
            code => match Self::state(code) {
                Some(state) => Ok(Some(state)),
                None => Err(UnknownState(code as u8)),
            },
        }
    }

    /// Returns the reported state, or `None` for a code that does not exist. Code 0 is
    /// [`QpState::Error`].
    pub const fn current(self) -> Option<QpState> {
        match Self::RESULT.get(self.0) {
            0 => Some(QpState::Error),
            code => Self::state(code),
        }
    }
}

/// A state code that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownState(pub u8);

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the values of the bring-up sequence (§1.4).
    #[test]
    fn bring_up() {
        assert_eq!(
            QpControl::request(QpState::Initialized, false).0,
            0x0000_0200_0000_0000
        );
        assert_eq!(
            QpControl::request(QpState::Initialized, true).0,
            0x8000_0200_0000_0000
        );
        assert_eq!(
            QpControl::request(QpState::ReadyToSend, true).0,
            0x8000_0500_0000_0000
        );
    }

    #[test]
    fn disable_keeps_the_state() {
        let running = QpControl::result(QpState::ReadyToSend, true);
        assert_eq!(running.same_state(false).0, 0x0000_0500_0000_0000);
        assert_eq!(
            running.same_state(false).requested(),
            Ok(Some(QpState::ReadyToSend))
        );
        let failed = QpControl::result(QpState::Error, false);
        assert_eq!(failed.same_state(true).requested(), Ok(None));
        assert_eq!(failed.current(), Some(QpState::Error));
        assert_eq!(
            QpControl(0x0000_0700_0000_0000).requested(),
            Err(UnknownState(7))
        );
    }
}
