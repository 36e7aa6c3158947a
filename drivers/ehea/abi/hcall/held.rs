// SPDX-License-Identifier: GPL-2.0

//! Record of what calls make firmware hold until it is given back or the machine is reset.

use super::{BcmcArgs, FreeResource, Opcode, Regs};

/// Something that firmware holds for the owner of an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A queue, queue pair or memory region, by its handle.
    Resource(u64),
    /// A broadcast or multicast registration.
    Group(BcmcArgs),
}

impl Held {
    /// Returns what a successful call took, given the registers `args` that it was made with and
    /// the registers `results` that it returned. `None` if the call takes nothing.
    pub const fn taken(opcode: Opcode, args: &Regs, results: &Regs) -> Option<Self> {
        match opcode {
            // All of them return the handle first.
            Opcode::ALLOC_HEA_RESOURCE | Opcode::REGISTER_SMR => Some(Self::Resource(results[0])),
            Opcode::REG_BCMC => Some(Self::Group(BcmcArgs::unpack(args))),
            _ => None,
        }
    }

    /// Returns what a successful call with the registers `args` gives back. `None` if the call
    /// gives nothing back.
    pub const fn given_back(opcode: Opcode, args: &Regs) -> Option<Self> {
        match opcode {
            Opcode::FREE_RESOURCE => Some(Self::Resource(FreeResource::unpack(args).resource)),
            Opcode::DEREG_BCMC => Some(Self::Group(BcmcArgs::unpack(args))),
            _ => None,
        }
    }

    /// Returns the call that gives this back to the adapter with the handle `adapter`. A resource on which something
    /// depends is given back only if `force`.
    pub const fn give_back(&self, adapter: u64, force: bool) -> (Opcode, Regs) {
        match *self {
            Self::Resource(resource) => {
                let call = FreeResource {
                    adapter,
                    resource,
                    force,
                };
                (Opcode::FREE_RESOURCE, call.pack())
            }
            Self::Group(group) => (Opcode::DEREG_BCMC, group.pack()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BcmcScope, RegisterSmr};
    use super::*;
    use crate::cb::port::MacAddress;

    const RESULTS: Regs = [0x70, 1, 2, 3, 4, 5, 6, 7, 8];

    /// Takes with one call, asserts that the call that gives back names the same thing, and returns
    /// that call.
    fn goes_back(opcode: Opcode, args: &Regs) -> (Opcode, Regs) {
        let held = Held::taken(opcode, args, &RESULTS).expect("it takes something");
        assert_eq!(Held::given_back(opcode, args), None);
        let (back, args) = held.give_back(1, true);
        assert_eq!(Held::given_back(back, &args), Some(held));
        assert_eq!(Held::taken(back, &args, &RESULTS), None);
        (back, args)
    }

    #[test]
    fn resources() {
        let freed = (Opcode::FREE_RESOURCE, [1, 0x70, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(goes_back(Opcode::ALLOC_HEA_RESOURCE, &[1; 9]), freed);
        let smr = RegisterSmr {
            adapter: 1,
            mr: 2,
            start: 3,
            access: 4,
            pd: 5,
        };
        assert_eq!(goes_back(Opcode::REGISTER_SMR, &smr.pack()), freed);
    }

    #[test]
    fn groups() {
        for scope in BcmcScope::BROADCAST {
            let args = BcmcArgs {
                adapter: 1,
                port: 2,
                scope,
                mac: MacAddress([2, 3, 4, 5, 6, 7]),
                vlan: 0,
            };
            let back = goes_back(Opcode::REG_BCMC, &args.pack());
            assert_eq!(back, (Opcode::DEREG_BCMC, args.pack()));
        }
    }

    #[test]
    fn nothing() {
        for &opcode in Opcode::ALL {
            let takes = Held::taken(opcode, &[0; 9], &RESULTS).is_some();
            let gives = Held::given_back(opcode, &[0; 9]).is_some();
            let expected = match opcode {
                Opcode::ALLOC_HEA_RESOURCE | Opcode::REGISTER_SMR | Opcode::REG_BCMC => {
                    (true, false)
                }
                Opcode::FREE_RESOURCE | Opcode::DEREG_BCMC => (false, true),
                _ => (false, false),
            };
            assert_eq!((takes, gives), expected, "{opcode}");
        }
    }
}
