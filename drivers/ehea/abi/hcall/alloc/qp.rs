// SPDX-License-Identifier: GPL-2.0

//! Queue pairs.

use super::super::super::bits::Bits64;
use super::super::super::ring::{QueueSize, SlotSize};
use super::super::Regs;
use super::{ResourceType, HIGH_WORD, LOW_WORD, TYPE};

/// Sizes and slot sizes of the three receive queues, RQ1 first, as codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RqSlots {
    /// Size codes: [`QueueSize::code`].
    pub size: [u8; 3],
    /// Slot size codes: [`SlotSize::code`].
    pub slot: [u8; 3],
}

/// H_ALLOC_HEA_RESOURCE of a queue pair: one send queue and three receive queues.
///
/// The call always asks for low-latency receive (completions and small frames in RQ1) and
/// completions only for work requests that ask for one. The remaining options in the registers have
/// one known working value each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocQp {
    /// Adapter handle.
    pub adapter: u64,
    /// True for low-latency receive.
    pub low_latency: bool,
    /// Signalling type; [`AllocQp::SIGNAL_ON_REQUEST`] is the one in use.
    pub signalling: u8,
    /// Code of the receive queues that the pair has; see [`AllocQp::ALL_RECEIVE_QUEUES`].
    pub receive_queues: u8,
    /// Handle of the send completion queue.
    pub send_cq: u64,
    /// Handle of the receive completion queue.
    pub recv_cq: u64,
    /// Handle of the affiliated event queue.
    pub affiliated_eq: u64,
    /// Token, chosen by the driver; error events carry it.
    pub token: u32,
    /// Protection domain.
    pub pd: u32,
    /// Size code of the send queue: [`QueueSize::code`].
    pub sq_size: u8,
    /// Slot size code of the send queue: [`SlotSize::code`].
    pub sq_slot: u8,
    /// Sizes of the receive queues.
    pub rq: RqSlots,
    /// Logical port number.
    pub port: u16,
    /// Size threshold code of RQ2.
    pub threshold_rq2: u16,
    /// Size threshold code of RQ3.
    pub threshold_rq3: u16,
}

impl AllocQp {
    const EQPO: Bits64 = Bits64::range(9, 11);
    const RECEIVE_QUEUES: Bits64 = Bits64::range(13, 15);
    const LOW_LATENCY: Bits64 = Bits64::bit(17);
    const SIGNALLING: Bits64 = Bits64::range(22, 23);
    const SQ_SIZE: Bits64 = Bits64::range(4, 7);
    const RQ_SIZE: [Bits64; 3] = [
        Bits64::range(12, 15),
        Bits64::range(20, 23),
        Bits64::range(28, 31),
    ];
    const SQ_SLOT: Bits64 = Bits64::range(37, 39);
    const RQ_SLOT: [Bits64; 3] = [
        Bits64::range(45, 47),
        Bits64::range(53, 55),
        Bits64::range(61, 63),
    ];
    const PORT: Bits64 = Bits64::range(48, 63);
    const THRESHOLD_RQ2: Bits64 = Bits64::range(0, 15);
    const THRESHOLD_RQ3: Bits64 = Bits64::range(16, 31);

    /// Value of `receive_queues` for all three receive queues.
    pub const ALL_RECEIVE_QUEUES: u8 = 6;
    /// Value of `signalling` for completions on request.
    pub const SIGNAL_ON_REQUEST: u8 = 1;
    /// Value of `threshold_rq2` that is known to work.
    pub const THRESHOLD_RQ2_DEFAULT: u16 = 1;
    /// Value of `threshold_rq3` that is known to work. It stands for 2048 bytes.
    pub const THRESHOLD_RQ3_DEFAULT: u16 = 4;

    /// Returns the registers of the call.
    pub const fn pack(&self) -> Regs {
        let control = TYPE.set(ResourceType::QP.0 as u64)
            | Self::EQPO.set(1)
            | Self::RECEIVE_QUEUES.set(self.receive_queues as u64)
            | Self::LOW_LATENCY.flag(self.low_latency)
            | Self::SIGNALLING.set(self.signalling as u64);
        let sizes = Self::SQ_SIZE.set(self.sq_size as u64)
            | Self::RQ_SIZE[0].set(self.rq.size[0] as u64)
            | Self::RQ_SIZE[1].set(self.rq.size[1] as u64)
            | Self::RQ_SIZE[2].set(self.rq.size[2] as u64)
            | Self::SQ_SLOT.set(self.sq_slot as u64)
            | Self::RQ_SLOT[0].set(self.rq.slot[0] as u64)
            | Self::RQ_SLOT[1].set(self.rq.slot[1] as u64)
            | Self::RQ_SLOT[2].set(self.rq.slot[2] as u64);
        [
            self.adapter,
            control,
            self.send_cq,
            self.recv_cq,
            self.affiliated_eq,
            HIGH_WORD.set(self.token as u64) | LOW_WORD.set(self.pd as u64),
            sizes,
            Self::PORT.set(self.port as u64),
            Self::THRESHOLD_RQ2.set(self.threshold_rq2 as u64)
                | Self::THRESHOLD_RQ3.set(self.threshold_rq3 as u64),
        ]
    }

    /// Returns the call in registers.
    pub const fn unpack(regs: &Regs) -> Self {
        let [adapter, control, send_cq, recv_cq, affiliated_eq, token_pd, sizes, port, thresholds] =
            *regs;
        Self {
            adapter,
            low_latency: Self::LOW_LATENCY.is_set(control),
            signalling: Self::SIGNALLING.get(control) as u8,
            receive_queues: Self::RECEIVE_QUEUES.get(control) as u8,
            send_cq,
            recv_cq,
            affiliated_eq,
            token: HIGH_WORD.get(token_pd) as u32,
            pd: LOW_WORD.get(token_pd) as u32,
            sq_size: Self::SQ_SIZE.get(sizes) as u8,
            sq_slot: Self::SQ_SLOT.get(sizes) as u8,
            rq: RqSlots {
                size: [
                    Self::RQ_SIZE[0].get(sizes) as u8,
                    Self::RQ_SIZE[1].get(sizes) as u8,
                    Self::RQ_SIZE[2].get(sizes) as u8,
                ],
                slot: [
                    Self::RQ_SLOT[0].get(sizes) as u8,
                    Self::RQ_SLOT[1].get(sizes) as u8,
                    Self::RQ_SLOT[2].get(sizes) as u8,
                ],
            },
            port: Self::PORT.get(port) as u16,
            threshold_rq2: Self::THRESHOLD_RQ2.get(thresholds) as u16,
            threshold_rq3: Self::THRESHOLD_RQ3.get(thresholds) as u16,
        }
    }
}

/// Answer to the allocation of a queue pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QpAllocated {
    /// Handle of the queue pair.
    pub handle: u64,
    /// Number of the queue pair, 24 bits.
    pub number: u32,
    /// Number of usable entries of the send queue, a power of two minus one.
    pub sq_entries: u16,
    /// Numbers of usable entries of RQ1, RQ2 and RQ3, each a power of two minus one.
    pub rq_entries: [u16; 3],
    /// Slot size codes of the send queue, RQ1, RQ2 and RQ3.
    pub slots: [u8; 4],
    /// Number of queue pages of the send queue.
    pub sq_pages: u32,
    /// Numbers of queue pages of RQ1, RQ2 and RQ3.
    pub rq_pages: [u32; 3],
    /// Real address of the register block.
    pub registers: u64,
}

impl QpAllocated {
    const ENTRIES: [Bits64; 4] = [
        Bits64::range(0, 15),
        Bits64::range(16, 31),
        Bits64::range(32, 47),
        Bits64::range(48, 63),
    ];
    const SLOTS: [Bits64; 4] = [
        Bits64::range(0, 7),
        Bits64::range(8, 15),
        Bits64::range(16, 23),
        Bits64::range(24, 31),
    ];

    /// Returns the answer to an allocation with the sizes in `call`, or `None` if one of its codes
    /// is not known.
    pub fn for_sizes(handle: u64, number: u32, registers: u64, call: &AllocQp) -> Option<Self> {
        let sq = QueueSize::from_code(call.sq_size)?;
        let sq_slot = SlotSize::from_code(call.sq_slot)?;
        let mut answer = Self {
            handle,
            number,
            registers,
            sq_entries: sq.entries() as u16,
            sq_pages: sq.pages(sq_slot),
            slots: [
                call.sq_slot,
                call.rq.slot[0],
                call.rq.slot[1],
                call.rq.slot[2],
            ],
            ..Self::default()
        };
        let codes = call.rq.size.iter().zip(&call.rq.slot);
        let results = answer.rq_entries.iter_mut().zip(&mut answer.rq_pages);
        for ((&size, &slot), (entries, pages)) in codes.zip(results) {
            let size = QueueSize::from_code(size)?;
            *entries = size.entries() as u16;
            *pages = size.pages(SlotSize::from_code(slot)?);
        }
        Some(answer)
    }

    /// Returns the registers of the answer.
    pub const fn pack(&self) -> Regs {
        [
            self.handle,
            self.number as u64,
            Self::ENTRIES[0].set(self.sq_entries as u64)
                | Self::ENTRIES[1].set(self.rq_entries[0] as u64)
                | Self::ENTRIES[2].set(self.rq_entries[1] as u64)
                | Self::ENTRIES[3].set(self.rq_entries[2] as u64),
            Self::SLOTS[0].set(self.slots[0] as u64)
                | Self::SLOTS[1].set(self.slots[1] as u64)
                | Self::SLOTS[2].set(self.slots[2] as u64)
                | Self::SLOTS[3].set(self.slots[3] as u64),
            HIGH_WORD.set(self.sq_pages as u64) | LOW_WORD.set(self.rq_pages[0] as u64),
            HIGH_WORD.set(self.rq_pages[1] as u64) | LOW_WORD.set(self.rq_pages[2] as u64),
            self.registers,
            0,
            0,
        ]
    }

    /// Returns the answer in registers.
    pub const fn unpack(regs: &Regs) -> Self {
        let [handle, number, entries, slots, pages1, pages2, registers, ..] = *regs;
        Self {
            handle,
            number: LOW_WORD.get(number) as u32,
            sq_entries: Self::ENTRIES[0].get(entries) as u16,
            rq_entries: [
                Self::ENTRIES[1].get(entries) as u16,
                Self::ENTRIES[2].get(entries) as u16,
                Self::ENTRIES[3].get(entries) as u16,
            ],
            slots: [
                Self::SLOTS[0].get(slots) as u8,
                Self::SLOTS[1].get(slots) as u8,
                Self::SLOTS[2].get(slots) as u8,
                Self::SLOTS[3].get(slots) as u8,
            ],
            sq_pages: HIGH_WORD.get(pages1) as u32,
            rq_pages: [
                LOW_WORD.get(pages1) as u32,
                HIGH_WORD.get(pages2) as u32,
                LOW_WORD.get(pages2) as u32,
            ],
            registers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QP: AllocQp = AllocQp {
        adapter: 1,
        low_latency: true,
        signalling: AllocQp::SIGNAL_ON_REQUEST,
        receive_queues: AllocQp::ALL_RECEIVE_QUEUES,
        send_cq: 2,
        recv_cq: 3,
        affiliated_eq: 4,
        token: 5,
        pd: 0xaabc_deff,
        sq_size: 9,
        sq_slot: 2,
        rq: RqSlots {
            size: [9, 9, 8],
            slot: [1, 0, 0],
        },
        port: 6,
        threshold_rq2: AllocQp::THRESHOLD_RQ2_DEFAULT,
        threshold_rq3: AllocQp::THRESHOLD_RQ3_DEFAULT,
    };

    /// Checks the register images of §3.3.
    #[test]
    fn qp() {
        assert_eq!(
            QP.pack(),
            [
                1,
                0x0016_4100_0000_0001,
                2,
                3,
                4,
                0x0000_0005_aabc_deff,
                0x0909_0908_0201_0000,
                6,
                0x0001_0004_0000_0000
            ]
        );
        assert_eq!(AllocQp::unpack(&QP.pack()), QP);
    }

    #[test]
    fn qp_answer() {
        let answer = QpAllocated::for_sizes(8, 9, 0x1f00_0001_0000, &QP).unwrap();
        assert_eq!(
            answer.pack(),
            [
                8,
                9,
                0x03ff_03ff_03ff_01ff,
                0x0201_0000_0000_0000,
                0x0000_0080_0000_0040,
                0x0000_0020_0000_0010,
                0x1f00_0001_0000,
                0,
                0
            ]
        );
        assert_eq!(QpAllocated::unpack(&answer.pack()), answer);
        assert_eq!(
            QpAllocated::for_sizes(8, 9, 0, &AllocQp { sq_slot: 3, ..QP }),
            None
        );
    }
}
