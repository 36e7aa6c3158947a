// SPDX-License-Identifier: GPL-2.0

//! A machine with one adapter.

use ehea_abi::cb::adapter::PageSizes;
use ehea_abi::cb::port::MacAddress;
use ehea_abi::hcall::{FreeResource, Opcode, RegisterRpages, Regs, ReturnCode, MAX_PAGES_PER_CALL};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::TestHost;
use crate::adapter::Adapter;
use crate::config::Config;
use crate::fault::Fault;
use crate::stats::Stats;
use crate::temper::Temper;

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;

/// A machine with one adapter, which it watches.
#[derive(Debug)]
pub struct TestMachine {
    /// The adapter. Calls through the methods below are watched; direct calls are not.
    pub adapter: Adapter,
    /// Memory and the rest of the machine.
    pub host: TestHost,
    config: Config,
    next_page: u64,
    /// True if live objects at the end are no error.
    pub may_leak: bool,
}

impl TestMachine {
    /// Returns a configuration with one port, pages of 4 KiB and flow control.
    pub fn default_config() -> Config {
        Config {
            adapter_handle: 0x4845_4100_7100_0003,
            mmio_base: 0x1f00_0000_0000,
            mmio_slots: 256,
            max_eqs: 128,
            max_qps: 64,
            max_mrs: 8,
            mr_page_sizes: PageSizes(0x8000_0000),
            num_default_qps: 1,
            flow_control: true,
            disabled_drops: false,
            temper: Temper::Calm,
            reraise_ms: 20,
            cmo: false,
            macs: vec![MacAddress([0x02, 0, 0, 0, 0, 1])],
        }
    }

    /// Returns a machine with 64 MiB of memory, which has a hole in the middle.
    pub fn new(config: Config) -> Self {
        Self::with_ram(config, &[(0, 32 * MIB), (48 * MIB, 32 * MIB)])
    }

    /// Returns a machine with the memory `ram`: ranges as start and length in bytes, ascending.
    pub fn with_ram(config: Config, ram: &[(u64, u64)]) -> Self {
        let mut host = TestHost::default();
        host.ram = ram.to_vec();
        host.irq_limit = 128;
        host.now = 1_000_000;
        host.tces = config.cmo.then(Default::default);
        Self {
            adapter: Adapter::new(config.clone()).expect("a valid configuration"),
            host,
            next_page: ram[0].0 + PAGE,
            config,
            may_leak: false,
        }
    }

    /// Returns the configuration of the adapter.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the adapter's handle.
    pub fn handle(&self) -> u64 {
        self.config.adapter_handle
    }

    /// Returns the ranges of RAM as start and length in bytes, ascending.
    pub fn ram(&self) -> &[(u64, u64)] {
        &self.host.ram
    }

    /// Makes the machine claim to have `bytes` bytes of RAM from now on.
    pub fn claim_ram(&mut self, bytes: u64) {
        self.host.claimed_ram = Some(bytes);
    }

    /// Limits the number of interrupts that the machine can give out.
    pub fn limit_irqs(&mut self, count: u32) {
        self.host.irq_limit = count;
    }

    /// Allocates contiguous pages of 4 KiB that nothing else uses. Returns the address of the
    /// first.
    pub fn alloc_pages(&mut self, count: u64) -> u64 {
        let gpa = self.next_page;
        self.next_page += count * PAGE;
        gpa
    }

    /// Makes a hypercall and repeats it while the firmware of a rough adapter is busy.
    pub fn hcall(&mut self, opcode: Opcode, regs: &mut Regs) -> ReturnCode {
        let rough = self.config.temper != Temper::Calm;
        loop {
            let code = self.hcall_once(opcode, regs);
            if !(rough && (code == ReturnCode::BUSY || code.long_busy_ms().is_some())) {
                return code;
            }
        }
    }

    /// Makes a hypercall once.
    pub fn hcall_once(&mut self, opcode: Opcode, regs: &mut Regs) -> ReturnCode {
        let call = *regs;
        self.host.call_pages = call[1..]
            .iter()
            .copied()
            .filter(|arg| arg % PAGE == 0 && arg.checked_add(PAGE).is_some())
            .collect();
        let code = self.adapter.hcall(&mut self.host, opcode, regs);
        self.host.call_pages.clear();
        self.watch(opcode, &call, code);
        self.check();
        code
    }

    /// Makes a hypercall. Returns its results, or its return code if that is not success.
    pub fn call(&mut self, opcode: Opcode, mut regs: Regs) -> Result<Regs, ReturnCode> {
        match self.hcall(opcode, &mut regs) {
            ReturnCode::SUCCESS => Ok(regs),
            code => Err(code),
        }
    }

    /// Keeps track of registered memory, from what the guest can see.
    fn watch(&mut self, opcode: Opcode, call: &Regs, code: ReturnCode) {
        let done = code == ReturnCode::SUCCESS || code == ReturnCode::PAGE_REGISTERED;
        if opcode == Opcode::REGISTER_HEA_RPAGES && done {
            let call = RegisterRpages::unpack(call);
            let bytes = call.page_size().expect("accepted").bytes();
            let mut pages = vec![call.address];
            if call.count > 1 {
                assert!(call.count <= MAX_PAGES_PER_CALL as u64);
                let mut list = vec![0; call.count as usize * 8];
                self.host.peek(call.address, &mut list);
                pages = list
                    .chunks(8)
                    .map(|page| u64::from_be_bytes(page.try_into().unwrap()))
                    .collect();
            }
            let known = self.host.registered.entry(call.resource).or_default();
            for page in pages {
                match known.last_mut() {
                    Some((start, len)) if *start + *len == page => *len += bytes,
                    _ => known.push((page, bytes)),
                }
            }
        }
        if opcode == Opcode::FREE_RESOURCE && code == ReturnCode::SUCCESS {
            self.host
                .registered
                .remove(&FreeResource::unpack(call).resource);
        }
    }

    /// Stores to a register at a real address.
    pub fn store(&mut self, address: u64, value: u64) {
        self.store_sized(address, 8, value);
    }

    /// Stores `size` bytes to a register at a real address.
    pub fn store_sized(&mut self, address: u64, size: u32, value: u64) {
        let offset = address - self.config.mmio_base;
        self.adapter.mmio_write(&mut self.host, offset, size, value);
        self.check();
    }

    /// Loads from a register at a real address.
    pub fn load(&mut self, address: u64) -> u64 {
        let offset = address - self.config.mmio_base;
        let value = self.adapter.mmio_read(&mut self.host, offset, 8);
        self.check();
        value
    }

    /// Lets virtual time pass, and all that becomes due happen.
    pub fn advance(&mut self, ns: u64) {
        let end = self.host.now + ns;
        while let Some(deadline) = self.host.deadline.filter(|&deadline| deadline <= end) {
            self.host.now = self.host.now.max(deadline);
            self.host.deadline = None;
            self.adapter.run(&mut self.host);
            self.check();
        }
        self.host.now = end;
    }

    /// Lets time pass until the adapter is to run next, and lets it run. Panics if nothing is due.
    pub fn run_next(&mut self) {
        let deadline = self.host.deadline.expect("nothing is due");
        self.advance(deadline.saturating_sub(self.host.now));
    }

    /// Lets enough time pass for doorbells and frames to be handled.
    pub fn settle(&mut self) {
        let milliseconds = match self.config.temper {
            Temper::Calm => 1,
            Temper::Rough(_) => 10,
        };
        self.advance(milliseconds * 1_000_000);
    }

    /// Returns the time at which the adapter wants to run next.
    pub fn deadline(&self) -> Option<u64> {
        self.host.deadline
    }

    /// Delivers a frame from the wire to the port index `port`. Returns false if the frame was not
    /// accepted.
    pub fn inject(&mut self, port: usize, frame: &[u8]) -> bool {
        let taken = self.adapter.rx_frame(&mut self.host, port, frame);
        self.check();
        taken
    }

    /// Returns the frames that port index `port` sent since the last call.
    pub fn take_sent(&mut self, port: usize) -> Vec<Vec<u8>> {
        self.host.sent.remove(&port).unwrap_or_default().into()
    }

    /// Makes the backend of port index `port` busy or ready.
    pub fn set_tx_busy(&mut self, port: usize, busy: bool) {
        if busy {
            self.host.tx_busy.insert(port);
        } else if self.host.tx_busy.remove(&port) {
            self.adapter.tx_ready(&mut self.host, port);
        }
        self.check();
    }

    /// Returns the number of times that port index `port` asked for frames that were held back.
    pub fn flushes(&self, port: usize) -> u64 {
        self.host.flushes.get(&port).copied().unwrap_or(0)
    }

    /// Removes memory from the machine.
    pub fn remove_ram(&mut self, gpa: u64, len: u64) {
        self.host.remove(gpa, len);
        self.adapter.ram_removed(&mut self.host, gpa, len);
        self.check();
    }

    /// Adds memory to the machine.
    pub fn add_ram(&mut self, gpa: u64, len: u64) {
        self.host.ram.push((gpa, len));
        self.host.ram.sort_unstable();
        self.adapter.ram_returned(gpa, len);
        self.check();
    }

    /// Makes the guest give memory back that the machine keeps for now.
    pub fn give_back(&mut self, gpa: u64, len: u64) {
        self.adapter.ram_removed(&mut self.host, gpa, len);
        self.check();
    }

    /// Gives the guest memory again that the machine has kept.
    pub fn take_back(&mut self, gpa: u64, len: u64) {
        self.adapter.ram_returned(gpa, len);
        self.check();
    }

    /// Changes an entry of the adapter's TCE table.
    pub fn put_tce(&mut self, index: u64, tce: u64) {
        let table = self.host.tces.get_or_insert_default();
        let old = table.insert(index, tce).unwrap_or(0);
        self.adapter.tce_put(old, tce);
        self.check();
    }

    /// Maps all RAM for the adapter. The index of each entry is the number of its page.
    pub fn map_ram(&mut self) {
        for (start, bytes) in self.host.ram.clone() {
            for page in start / PAGE..(start + bytes) / PAGE {
                self.put_tce(page, (page * PAGE) | 3);
            }
        }
    }

    /// Clears all entries of the adapter's TCE table at once, like a reset.
    pub fn clear_tces(&mut self) {
        if let Some(table) = &mut self.host.tces {
            table.clear();
        }
        self.adapter.tce_clear();
        self.check();
    }

    /// Resets the machine.
    pub fn reset(&mut self) {
        self.clear_tces();
        self.adapter.reset(&mut self.host);
        self.host.registered.clear();
        self.check();
    }

    /// Arms a fault given as JSON.
    pub fn fault(&mut self, json: &str) {
        let fault: Fault = serde_json::from_str(json).unwrap_or_else(|e| panic!("{json}: {e}"));
        self.adapter
            .fault_add(&mut self.host, fault)
            .unwrap_or_else(|e| panic!("{json}: {e}"));
        self.check();
    }

    /// Asserts that the adapter will do everything that it can do: there is a deadline for
    /// everything that its objects wait for, and no work is done when it says that none is
    /// possible.
    fn check(&mut self) {
        let now = self.host.now;
        if let Some(by) = self.adapter.owed() {
            let deadline = self.host.deadline;
            assert!(
                deadline.is_some_and(|deadline| deadline <= by.max(now)),
                "due by {by}, deadline {deadline:?}, now {now}: {:#?}",
                self.adapter
            );
        }
        if !self.adapter.is_work_possible() {
            let accesses = self.host.accesses.len();
            let done = self.adapter.work(&mut self.host);
            let accesses = self.host.accesses.len() - accesses;
            assert_eq!((done, accesses), (0, 0), "{:#?}", self.adapter);
        }
    }

    /// Returns a snapshot of the adapter's statistics.
    pub fn stats(&self) -> Stats {
        self.adapter.stats()
    }

    /// Returns the number of refusals for the reason `name`.
    pub fn refusals(&self, name: &str) -> u64 {
        self.stats().refusals.get(name).copied().unwrap_or(0)
    }

    /// Reads a value from guest memory.
    pub fn read<T: FromBytes + IntoBytes>(&self, gpa: u64) -> T {
        let mut value = T::new_zeroed();
        self.host.peek(gpa, value.as_mut_bytes());
        value
    }

    /// Reads bytes from guest memory.
    pub fn read_bytes(&self, gpa: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.host.peek(gpa, &mut bytes);
        bytes
    }

    /// Writes a value to guest memory.
    pub fn write<T: IntoBytes + Immutable + ?Sized>(&mut self, gpa: u64, value: &T) {
        self.host.poke(gpa, value.as_bytes());
    }
}

impl Default for TestMachine {
    fn default() -> Self {
        Self::new(Self::default_config())
    }
}

impl Drop for TestMachine {
    fn drop(&mut self) {
        if std::thread::panicking() || self.may_leak {
            return;
        }
        let stats = self.stats();
        assert_eq!(stats.live.total(), 0, "live objects: {:?}", stats.live);
        assert_eq!(stats.pinned_bytes, 0, "pinned bytes");
        assert_eq!(self.host.irqs_in_use(), 0, "interrupts in use");
    }
}
