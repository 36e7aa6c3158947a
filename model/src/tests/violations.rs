// SPDX-License-Identifier: GPL-2.0

//! Tests that every violation stops the queue pair, with error data, an event and a name in the
//! statistics.

use ehea_abi::cb::error::ErrorBlock;
use ehea_abi::cb::qp::{QpBlock0, QpControl, QpState};
use ehea_abi::eqe::Eqe;
use ehea_abi::hcall::{
    ErrorData, MrAllocated, Opcode, RegisterSmr, ReturnCode, ACCESS_LOCAL_WRITE,
};
use ehea_abi::regs;
use ehea_abi::wqe::{Descriptor, Rwqe, SwqeFormat, SwqeHeader, TxControl, WrId};
use zerocopy::byteorder::big_endian::{U16, U64};
use zerocopy::IntoBytes as _;

use super::cmo::cmo_guest;
use crate::testkit::{Frame, TestGuest};
use crate::Violation;

const START: u64 = 0x8000_0000_0000_0000;

/// Returns a send work request of format 1 with the descriptors `list`, whose count field is
/// `count`.
fn descriptors(list: &[Descriptor], count: u8) -> [u8; 512] {
    let mut entry = [0u8; 512];
    let header = SwqeHeader {
        tx_control: U16::new(SwqeFormat::Descriptors.flags().0),
        descriptors: count,
        ..SwqeHeader::default()
    };
    entry[..32].copy_from_slice(header.as_bytes());
    for (slot, descriptor) in entry[32..].chunks_mut(16).zip(list) {
        slot.copy_from_slice(descriptor.as_bytes());
    }
    entry
}

/// Returns a send work request of format 3 with the flags `flags` and the bytes `bytes`.
fn immediate(flags: TxControl, header: SwqeHeader, bytes: &[u8], length: u8) -> [u8; 512] {
    let mut entry = [0u8; 512];
    let header = SwqeHeader {
        tx_control: U16::new(flags.0),
        immediate_data_length: length,
        ..header
    };
    entry[..32].copy_from_slice(header.as_bytes());
    entry[32..32 + bytes.len()].copy_from_slice(bytes);
    entry
}

fn post(guest: &mut TestGuest, entry: &[u8]) {
    guest.ports[0].qps[0].post_raw(&mut guest.machine, entry);
}

fn ring(guest: &mut TestGuest, register: usize, count: u64) {
    guest.ports[0].qps[0].store(&mut guest.machine, register, count);
}

/// Registers a shared memory region with the access control word `access` and the protection domain
/// `pd`. Returns its key.
fn smr(guest: &mut TestGuest, access: u32, pd: u32) -> u32 {
    let call = RegisterSmr {
        adapter: guest.machine.handle(),
        mr: guest.mr.handle,
        start: START,
        access,
        pd,
    };
    let regs = guest
        .machine
        .call(Opcode::REGISTER_SMR, call.pack())
        .unwrap();
    MrAllocated::unpack(&regs).lkey
}

/// Replaces the next buffer of RQ2 and delivers a frame for it.
fn receive_into(guest: &mut TestGuest, count: u8, descriptor: Descriptor) {
    let at = guest.ports[0].qps[0].rq2.base;
    let entry = Rwqe {
        data_segments: count,
        ..Rwqe::new(WrId::default(), descriptor)
    };
    guest.machine.write(at, &entry);
    guest
        .machine
        .inject(0, &Frame::raw(Frame::STATION, 1000, 1));
}

fn provoke(guest: &mut TestGuest, violation: Violation) {
    use Violation as V;
    let key = guest.ports[0].qps[0].lkeys[0];
    let good = Descriptor::new(START, key, 100);
    let one = |d: Descriptor| descriptors(&[d], 1);
    let present = TxControl::IMM_DATA_PRESENT;
    let frame = Frame::udp(Frame::PEER, (1, 2), &[0; 30]);
    let sized = |len: usize, flags: TxControl, header: SwqeHeader| {
        immediate(flags.with(present), header, &frame[..len], len as u8)
    };
    let plain = SwqeHeader::default();
    match violation {
        V::UnknownKey => post(guest, &one(Descriptor::new(START, key ^ 1, 100))),
        V::ForeignKey => {
            let key = smr(guest, ACCESS_LOCAL_WRITE, 1);
            post(guest, &one(Descriptor::new(START, key, 100)));
        }
        V::OutsideRegion => post(
            guest,
            &one(Descriptor::new(START + (64 << 20) - 99, key, 100)),
        ),
        V::RegionIncomplete => {
            let mut call = TestGuest::alloc_mr_call(&guest.machine, guest.options.page);
            call.length = 0x2000;
            let regs = guest.machine.call(Opcode::ALLOC_HEA_RESOURCE, call.pack());
            let mr = MrAllocated::unpack(&regs.unwrap());
            post(guest, &one(Descriptor::new(START, mr.lkey, 100)));
        }
        V::WriteProtected => {
            let key = smr(guest, 0, crate::testkit::PD);
            receive_into(guest, 1, Descriptor::new(START, key, 2048));
        }
        V::MemoryGone => {
            guest.machine.remove_ram(60 << 20, 4096);
            post(guest, &one(Descriptor::new(START + (44 << 20), key, 100)));
        }
        V::QueueMemoryGone => {
            let at = guest.ports[0].qps[0].sq.base;
            post(guest, &sized(60, present, plain));
            guest.machine.remove_ram(at, 4096);
            // New memory at the same place is not the memory that was registered.
            guest.machine.add_ram(at, 4096);
        }
        V::NotMapped => {
            guest.machine.put_tce(2048, (8 << 20) | 2);
            post(
                guest,
                &one(Descriptor::new(START + (8 << 20) - 16, key, 100)),
            );
        }
        V::QueueNotMapped => {
            let page = guest.ports[0].qps[0].sq.base / 4096;
            guest.machine.put_tce(page, 0);
            post(guest, &sized(60, present, plain));
        }
        V::CompletionQueueGone => {
            let cq = guest.ports[0].qps[0].send_cq.handle;
            guest.free(cq, true).unwrap();
            let flags = TxControl::PURGE.with(TxControl::SIGNALLED_COMPLETION);
            post(guest, &immediate(flags, plain, &[], 0));
        }
        V::CompletionQueueFull => {
            let flags = TxControl::PURGE.with(TxControl::SIGNALLED_COMPLETION);
            for _ in 0..=guest.ports[0].qps[0].send_cq.ring.slots {
                post(guest, &immediate(flags, plain, &[], 0));
                guest.machine.settle();
            }
        }
        V::SendQueueOverrun => ring(guest, regs::qp::SQA, 128),
        V::ReceiveQueueOverrun => ring(guest, regs::qp::RQ1A, 0xffff),
        V::SendFormat => post(guest, &[0; 512]),
        V::SendImmediate => post(guest, &immediate(present, plain, &[], 225)),
        V::SendDescriptors => post(guest, &descriptors(&[good; 30], 31)),
        V::FrameTooShort => post(guest, &sized(13, present, plain)),
        V::FrameTooLong => post(guest, &one(Descriptor::new(START, key, 9019))),
        V::ChecksumHeader => post(guest, &sized(60, TxControl::IP_CHECKSUM, plain)),
        V::SegmentHeader => {
            let header = SwqeHeader {
                mss: U16::new(100),
                ..plain
            };
            post(guest, &sized(60, TxControl::TSO, header));
        }
        V::SegmentSize => post(guest, &sized(60, TxControl::TSO, plain)),
        V::ReceiveDescriptors => receive_into(guest, 7, good),
    }
    guest.machine.settle();
}

#[test]
fn every_violation_is_reachable() {
    for &violation in Violation::ALL {
        let cmo = matches!(violation, Violation::NotMapped | Violation::QueueNotMapped);
        let mut guest = match cmo {
            true => cmo_guest(),
            false => TestGuest::default(),
        };
        guest.machine.may_leak = true;
        let (handle, number) = (guest.ports[0].qps[0].handle, guest.ports[0].qps[0].number);
        guest.ports[0].affiliated.take(&guest.machine);
        let irq = guest.ports[0].affiliated.irq;
        guest.machine.host.take_pulses(irq);

        provoke(&mut guest, violation);
        let stats = guest.machine.stats();
        assert_eq!(
            stats.refusals.get(violation.name()),
            Some(&1),
            "{violation:?}: {:?}",
            stats.refusals
        );
        assert_eq!(stats.refused_accesses, u64::from(violation.is_access()));
        assert_eq!(stats.cmo_refused, u64::from(cmo));
        // There is one event and one interrupt.
        let events = guest.ports[0].affiliated.take(&guest.machine);
        assert_eq!(events.len(), 1, "{violation:?}");
        let event = Eqe::unpack(events[0]);
        assert_eq!((event.number, event.token, event.is_cq), (number, 0, false));
        assert_eq!(guest.machine.host.take_pulses(irq), 1);
        // ERROR is reported as 0, not enabled.
        let control = guest.qp_control(handle);
        assert_eq!(control.current(), Some(QpState::Error));
        assert!(!control.is_enabled());
        // The error data ask for a reset.
        let block = guest.block;
        let call = ErrorData {
            adapter: guest.machine.handle(),
            resource: handle,
            block,
        };
        guest.machine.call(Opcode::ERROR_DATA, call.pack()).unwrap();
        let data: ErrorBlock = guest.machine.read(block);
        assert!(data.needs_reset());
        assert_eq!(data.aer.get(), violation.aer());
        assert_eq!((data.resource.get(), data.port.get()), (handle, 1));
        // Doorbells and frames have no effect any more.
        guest.machine.host.take_accesses();
        guest.machine.inject(0, &Frame::raw(Frame::STATION, 100, 1));
        ring(&mut guest, regs::qp::SQA, 1);
        guest.machine.settle();
        assert!(
            guest.machine.host.take_accesses().is_empty(),
            "{violation:?}"
        );
        assert!(guest.machine.take_sent(0).is_empty());
        guest.machine.reset();
    }
}

/// A failed queue pair becomes usable again through RESET, with new rings.
#[test]
fn a_failed_queue_pair_can_be_set_up_again() {
    let mut guest = TestGuest::default();
    let handle = guest.ports[0].qps[0].handle;
    post(&mut guest, &[0; 512]);
    guest.machine.settle();
    assert_eq!(guest.qp_control(handle).current(), Some(QpState::Error));
    let again = QpControl::request(QpState::ReadyToSend, true);
    assert_eq!(guest.set_qp(handle, again), Err(ReturnCode::R_STATE));
    // A request for "same state, enabled" is legal and does not help.
    guest.set_qp(handle, QpControl(1 << 63)).unwrap();
    assert!(!guest.qp_control(handle).is_enabled());

    guest
        .set_qp(handle, QpControl::request(QpState::Reset, false))
        .unwrap();
    guest.activate(0, 0);
    guest
        .qp_call(Opcode::QUERY_HEA_QP, handle, QpBlock0::SELECT_ALL.mask())
        .unwrap();
    assert_eq!(guest.machine.read::<QpBlock0>(guest.block).aer.get(), 0);
    let qp = &mut guest.ports[0].qps[0];
    for ring in [&mut qp.sq, &mut qp.rq1, &mut qp.rq2, &mut qp.rq3] {
        ring.position = 0;
        guest.machine.write(ring.base, vec![0u8; 4096].as_slice());
    }
    guest.fill(0, 0);
    let frame = Frame::raw(Frame::STATION, 1000, 5);
    guest.machine.inject(0, &frame);
    guest.send(0, 0, &frame);
    guest.machine.settle();
    assert_eq!(guest.receive(0, 0)[0].frame, frame);
    assert_eq!(guest.machine.take_sent(0), [frame]);
}

/// Data that no flag marks as present are not sent, even if a length field counts them.
#[test]
fn only_what_is_announced_counts() {
    let mut guest = TestGuest::default();
    let frame = Frame::raw(Frame::PEER, 200, 1);
    let mut entry = immediate(
        TxControl::IMM_DATA_PRESENT,
        SwqeHeader::default(),
        &frame,
        200,
    );
    entry[0x15] = 200; // descriptors
    post(&mut guest, &entry);
    guest.machine.settle();
    assert_eq!(guest.machine.take_sent(0), [frame]);
    let ids: Vec<U64> = guest.completions(0, 0).iter().map(|c| c.wr_id).collect();
    assert!(ids.is_empty());
}
