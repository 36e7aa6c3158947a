// SPDX-License-Identifier: GPL-2.0

//! Tests with a guest that does anything at all. The test machine is the oracle: it panics if the
//! adapter touches memory that no call registered, frees an interrupt twice, or uses one after it
//! was freed. The model must not panic either, and everything must be gone after a reset.

use ehea_abi::hcall::{Opcode, Regs};
use ehea_abi::regs;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::config::Config;
use crate::testkit::{Frame, GuestOptions, TestGuest, TestMachine};

/// Number that is likely to mean something.
#[derive(Clone, Debug)]
enum Number {
    Any(u64),
    /// The n-th handle that was seen.
    Handle(usize),
    /// A handle with a bit flipped.
    AlmostHandle(usize, u32),
    /// A page of RAM.
    Page(u64),
    /// The start of regions, with an offset.
    Bus(u64),
    Small(u64),
    /// A register image of a real call.
    Image(usize),
    Bit(u32),
}

const IMAGES: [u64; 12] = [
    0x8100_0000_0000_0003,
    0x0100_0000_0000_0003,
    0x0100_8000_0000_0003,
    0x0016_4100_0000_0001,
    0x0606_0606_0201_0000,
    0x0001_0004_0000_0000,
    0x0080_0000_0000_0000,
    0xaabc_deff,
    0xff00_0000_0000_0000,
    0xfc00_0000_0000_0000,
    0x0004_0001,
    0x0007_0001,
];

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        1 => any::<u64>().prop_map(Number::Any),
        6 => any::<usize>().prop_map(Number::Handle),
        1 => (any::<usize>(), 0u32..64).prop_map(|(h, bit)| Number::AlmostHandle(h, bit)),
        4 => (0u64..12_000).prop_map(Number::Page),
        2 => (0u64..80 << 20).prop_map(Number::Bus),
        6 => (0u64..1024).prop_map(Number::Small),
        4 => (0..IMAGES.len()).prop_map(Number::Image),
        1 => (0u32..64).prop_map(Number::Bit),
    ]
}

#[derive(Clone, Debug)]
enum Action {
    Call(usize, Vec<Number>),
    Store(u64, u32, Number),
    Load(u64, u32),
    /// A write into a queue of the well-behaved guest: the queue, the offset, and the bytes.
    Scribble(usize, u64, Vec<u8>),
    /// A descriptor in a send work request.
    Send(Vec<u8>, Number, u32),
    Receive(usize, u32),
    Good(usize),
    Time(u64),
    Link(bool),
    TxBusy(bool),
    Remove(u64, u64),
    /// A change of an entry of the TCE table: one of those that map RAM, or another.
    Tce(u64, Number, u64),
    ClearTces,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        10 => (0usize..17, vec(number(), 8)).prop_map(|(op, args)| Action::Call(op, args)),
        3 => (0u64..0x8_0000, prop_oneof![5 => Just(8u32), 1 => 0u32..16], number())
            .prop_map(|(at, size, value)| Action::Store(at, size, value)),
        // Registers that have an effect.
        6 => (0u64..8, 0usize..7, number()).prop_map(|(slot, register, value)| {
            let registers = [
                regs::qp::SQA, regs::qp::RQ1A, regs::qp::RQ2A, regs::qp::RQ3A,
                regs::cq::FECA, regs::cq::EP, regs::cq::N1,
            ];
            Action::Store(slot * Config::SLOT_SIZE + registers[register] as u64, 8, value)
        }),
        1 => (0u64..0x8_0000, 0u32..16).prop_map(|(at, size)| Action::Load(at, size)),
        4 => (0usize..4, 0u64..0x8000, vec(any::<u8>(), 1..64))
            .prop_map(|(queue, at, bytes)| Action::Scribble(queue, at, bytes)),
        6 => (vec(any::<u8>(), 32), number(), any::<u32>())
            .prop_map(|(header, vaddr, len)| Action::Send(header, vaddr, len)),
        6 => (0usize..9200, any::<u32>()).prop_map(|(len, seed)| Action::Receive(len, seed)),
        3 => (60usize..9018).prop_map(Action::Good),
        4 => (0u64..50_000_000).prop_map(Action::Time),
        1 => any::<bool>().prop_map(Action::Link),
        1 => any::<bool>().prop_map(Action::TxBusy),
        1 => (0u64..80, 1u64..4).prop_map(|(at, n)| Action::Remove(at, n)),
        // The queues and buffers are at the beginning of RAM.
        4 => (0u64..200, number(), 0u64..4).prop_map(|(at, tce, bits)| Action::Tce(at, tce, bits)),
        1 => Just(Action::ClearTces),
    ]
}

struct Attack {
    guest: TestGuest,
    handles: Vec<u64>,
}

impl Attack {
    fn new() -> Self {
        Self::on(TestMachine::default_config())
    }

    fn on(mut config: Config) -> Self {
        config.max_eqs = 6;
        config.max_qps = 3;
        config.max_mrs = 3;
        config.mmio_slots = 8;
        let mut machine = TestMachine::new(config);
        if machine.config().cmo {
            machine.map_ram();
        }
        let options = GuestOptions {
            queue_pairs: 2,
            ..GuestOptions::default()
        };
        let mut guest = TestGuest::on(machine, options);
        guest.machine.may_leak = true;
        let port = &guest.ports[0];
        let mut handles = vec![guest.neq.handle, guest.mr.handle, port.affiliated.handle];
        for qp in &port.qps {
            handles.extend([
                qp.handle,
                qp.send_cq.handle,
                qp.recv_cq.handle,
                qp.eq.handle,
            ]);
            handles.extend(qp.smrs);
            handles.extend(qp.lkeys.map(u64::from));
        }
        Self { guest, handles }
    }

    fn value(&self, number: &Number) -> u64 {
        let handle = |n: usize| self.handles[n % self.handles.len()];
        match *number {
            Number::Any(n) | Number::Small(n) => n,
            Number::Handle(n) => handle(n),
            Number::AlmostHandle(n, bit) => handle(n) ^ (1 << bit),
            Number::Page(n) => n * 4096,
            Number::Bus(n) => 0x8000_0000_0000_0000 + n,
            Number::Image(n) => IMAGES[n],
            Number::Bit(n) => 1 << n,
        }
    }

    fn is_ram(&self, gpa: u64, len: u64) -> bool {
        let ram = self.guest.machine.ram();
        ram.iter()
            .any(|&(start, bytes)| gpa >= start && gpa + len <= start + bytes)
    }

    fn post(&mut self, entry: &[u8]) {
        let at = self.guest.ports[0].qps[0].sq.address();
        if self.is_ram(at, 512) {
            self.guest.ports[0].qps[0].post_raw(&mut self.guest.machine, entry);
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Call(op, args) => {
                let opcode = Opcode::ALL
                    .get(*op)
                    .copied()
                    .unwrap_or(Opcode(0x254 + *op as u64));
                let mut regs: Regs = [self.guest.machine.handle(); 9];
                for (reg, arg) in regs[1..].iter_mut().zip(args) {
                    *reg = self.value(arg);
                }
                let code = self.guest.machine.hcall(opcode, &mut regs);
                let made = opcode == Opcode::ALLOC_HEA_RESOURCE || opcode == Opcode::REGISTER_SMR;
                if code.is_success() && made {
                    self.handles.extend([regs[0], regs[2]]);
                }
            }
            Action::Store(at, size, value) => {
                let value = self.value(value);
                let base = self.guest.machine.config().mmio_base;
                self.guest.machine.store_sized(base + at, *size, value);
            }
            Action::Load(at, size) => {
                let machine = &mut self.guest.machine;
                machine.adapter.mmio_read(&mut machine.host, *at, *size);
            }
            Action::Scribble(queue, at, bytes) => {
                let qp = &self.guest.ports[0].qps[0];
                let base = [qp.sq.base, qp.rq1.base, qp.rq2.base, qp.rq3.base][*queue];
                if self.is_ram(base + at, bytes.len() as u64) {
                    self.guest.machine.write(base + at, bytes.as_slice());
                }
            }
            Action::Send(header, vaddr, len) => {
                let mut entry = [0u8; 512];
                entry[..32].copy_from_slice(header);
                let key = self.guest.ports[0].qps[0].lkeys[0];
                for place in [0x20, 0xd0] {
                    entry[place..place + 8].copy_from_slice(&self.value(vaddr).to_be_bytes());
                    entry[place + 8..place + 12].copy_from_slice(&key.to_be_bytes());
                    entry[place + 12..place + 16].copy_from_slice(&(len >> 16).to_be_bytes());
                }
                self.post(&entry);
            }
            Action::Receive(len, seed) => {
                let mut frame = Frame::pattern(*len, *seed);
                if *len >= 14 && seed % 4 > 0 {
                    frame[..6].copy_from_slice(&Frame::STATION);
                    let kind = [[0x08, 0x00], [0x81, 0x00], [0x86, 0xdd]][*seed as usize % 3];
                    frame[12..14].copy_from_slice(&kind);
                }
                self.guest.machine.inject(0, &frame);
            }
            Action::Good(len) => {
                let at = self.guest.ports[0].qps[0].sq.address();
                if self.is_ram(at, 512) && self.guest.machine.ram()[0] == (0, 32 << 20) {
                    let frame = Frame::raw(Frame::PEER, *len, 1);
                    self.guest.send(0, 0, &frame);
                }
            }
            Action::Time(ns) => self.guest.machine.advance(*ns),
            Action::Link(up) => {
                let machine = &mut self.guest.machine;
                machine.adapter.set_link(&mut machine.host, 0, *up);
            }
            Action::TxBusy(busy) => self.guest.machine.set_tx_busy(0, *busy),
            Action::Tce(at, tce, bits) => {
                let tce = (self.value(tce) & !3) | bits;
                if self.guest.machine.config().cmo {
                    self.guest.machine.put_tce(*at, tce);
                }
            }
            Action::ClearTces => self.guest.machine.clear_tces(),
            Action::Remove(at, n) => self.guest.machine.remove_ram(at << 20, n << 20),
        }
    }

    fn end(mut self) {
        self.guest.machine.advance(100_000_000);
        let stats = self.guest.machine.stats();
        let ports = stats.ports.iter();
        assert!(ports.clone().all(|port| port.rx_fifo_bytes <= 512 << 10));
        self.guest.machine.reset();
        let stats = self.guest.machine.stats();
        assert_eq!((stats.live.total(), stats.pinned_bytes), (0, 0));
        assert_eq!(self.guest.machine.host.irqs_in_use(), 0);
        assert_eq!(self.guest.machine.deadline(), None);
        self.guest.ports.clear();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn anything_goes(actions in vec(action(), 1..120)) {
        let mut attack = Attack::new();
        for action in &actions {
            attack.act(action);
        }
        attack.end();
    }

    /// Anything goes in a CMO partition, too. The oracle also panics if the adapter touches memory
    /// that is not mapped.
    #[test]
    fn anything_goes_in_a_cmo_partition(actions in vec(action(), 1..80)) {
        let mut attack = Attack::on(Config {
            cmo: true,
            ..TestMachine::default_config()
        });
        for action in &actions {
            attack.act(action);
        }
        attack.end();
    }

    /// Random send work requests of plausible shape, each on a new queue pair, do no harm.
    #[test]
    fn send_work_requests(flags: u16, bytes in vec(any::<u8>(), 30), body in vec(any::<u8>(), 480),
                          key: bool, length in 0u32..70_000) {
        let mut attack = Attack::new();
        let mut entry = [0u8; 512];
        entry[2..32].copy_from_slice(&bytes);
        entry[8..10].copy_from_slice(&flags.to_be_bytes());
        entry[32..].copy_from_slice(&body);
        entry[0x15] %= 32;
        if key {
            let key = attack.guest.ports[0].qps[0].lkeys[0];
            for place in entry[32..].chunks_mut(16) {
                place[..4].copy_from_slice(&[0x80, 0, 0, 0]);
                place[4] = 0;
                place[8..12].copy_from_slice(&key.to_be_bytes());
                place[12..16].copy_from_slice(&(length / 8).to_be_bytes());
            }
        }
        attack.post(&entry);
        attack.end();
    }

    /// Headers that look right up to a late check do no harm.
    #[test]
    fn offload_headers(tso: bool, ip: bool, l4: bool, vlan: bool, mss in 0u16..3000,
                       start in 0u8..40, end in 0u8..80, tcp in 0u8..120, immediate in 0u8..=160,
                       garbage in vec((0usize..60, any::<u8>()), 0..4), len in 60usize..3000) {
        let mut attack = Attack::new();
        let mut frame = Frame::tcp(Frame::PEER, (1, 2), 3, 0x18, &Frame::pattern(len, 1));
        for (at, byte) in garbage {
            frame[at] = byte;
        }
        let control = ehea_abi::wqe::TxControl::default()
            .with_if(tso, ehea_abi::wqe::TxControl::TSO)
            .with_if(ip, ehea_abi::wqe::TxControl::IP_CHECKSUM)
            .with_if(l4, ehea_abi::wqe::TxControl::TCP_CHECKSUM)
            .with_if(vlan, ehea_abi::wqe::TxControl::VLAN_INSERT);
        for (start, end, tcp, immediate) in [(start, end, tcp, immediate), (14, 33, 50, 54)] {
            let header = ehea_abi::wqe::SwqeHeader {
                tx_control: control.0.into(),
                ip_start: start,
                ip_end: end,
                tcp_offset: tcp,
                mss: mss.into(),
                ..ehea_abi::wqe::SwqeHeader::default()
            };
            attack.guest.send_with(0, 0, &frame, header, usize::from(immediate).min(frame.len()), &[]);
            attack.guest.machine.settle();
        }
        let sent = attack.guest.machine.take_sent(0);
        prop_assert!(sent.iter().all(|frame| (60..=9018).contains(&frame.len())));
        attack.end();
    }

    /// Any bytes from the wire do no harm.
    #[test]
    fn frames(frames in vec((vec(any::<u8>(), 0..120), 0usize..9100, any::<bool>()), 1..20)) {
        let mut attack = Attack::new();
        for (head, len, to_us) in frames {
            let mut frame = head;
            frame.resize(len.max(frame.len()), 0x5a);
            if to_us && frame.len() >= 6 {
                frame[..6].copy_from_slice(&Frame::STATION);
            }
            attack.guest.machine.inject(0, &frame);
        }
        attack.guest.machine.settle();
        attack.guest.receive(0, 0);
        attack.end();
    }
}
