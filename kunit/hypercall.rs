// SPDX-License-Identifier: GPL-2.0

//! Tests of hypercalls that are refused before they are made, so that they need no adapter.

use kernel::prelude::kunit_tests;

#[kunit_tests(ehea_hypercall)]
mod tests {
    use crate::{
        abi::cb::port::PortCategory,
        abi::hcall::{
            ErrorData,
            Opcode,
            PortCall,
            QueryHea,
            QueueSelect,
            RegisterRpages,
            Regs,
            ReturnCode, //
        },
        kernel_ext::{
            dma::QueueMemory,
            hypercall::{
                hea_call9,
                Memory, //
            },
            page::ContiguousBuffer, //
        },
        testing, //
    };
    use kernel::prelude::*;

    /// Returns the code of a call.
    fn code(opcode: Opcode, args: Regs, memory: Memory<'_>) -> ReturnCode {
        ReturnCode(hea_call9(opcode.0, args, memory).status())
    }

    #[test]
    fn calls_of_others_are_refused() {
        // H_REMOVE and H_ENTER change page tables. The effect of H_GET_HEA_INFO is not known.
        for opcode in [0x04, 0x08, Opcode::GET_HEA_INFO.0, u64::MAX] {
            let code = code(Opcode(opcode), [0; 9], Memory::None);
            assert_eq!(code, ReturnCode::FUNCTION);
        }
    }

    #[test]
    fn blocks_are_not_numbers() -> Result {
        let (block, other) = (ContiguousBuffer::new(4096)?, ContiguousBuffer::new(4096)?);
        let small = ContiguousBuffer::new(64)?;
        let port = |block| {
            let call = PortCall {
                adapter: 1,
                category: PortCategory::ATTRIBUTES,
                port: 1,
                select: 0,
                block,
            };
            call.pack()
        };
        for opcode in [
            Opcode::QUERY_HEA_PORT,
            Opcode::MODIFY_HEA_PORT,
            Opcode::QUERY_HEA_QP,
            Opcode::MODIFY_HEA_QP,
        ] {
            let address = block.real_address();
            let refused = [
                code(opcode, port(address), Memory::None),
                code(opcode, port(address), Memory::Block(&other)),
                code(opcode, port(address + 8), Memory::Block(&block)),
                code(opcode, port(small.real_address()), Memory::Block(&small)),
            ];
            assert_eq!(refused, [ReturnCode::PARAMETER; 4]);
        }
        let query = QueryHea {
            adapter: 1,
            block: block.real_address(),
        };
        let query = code(Opcode::QUERY_HEA, query.pack(), Memory::Block(&other));
        assert_eq!(query, ReturnCode::PARAMETER);
        let errors = ErrorData {
            adapter: 1,
            resource: 2,
            block: block.real_address(),
        };
        let errors = code(Opcode::ERROR_DATA, errors.pack(), Memory::Block(&other));
        assert_eq!(errors, ReturnCode::PARAMETER);
        Ok(())
    }

    #[test]
    fn pages_of_queues_are_those_of_queues() -> Result {
        let queue = QueueMemory::new(&testing::access(), 2, 64)?;
        let block = ContiguousBuffer::new(4096)?;
        let (page, next) = (queue.page(0).ok_or(EINVAL)?, queue.page(1).ok_or(EINVAL)?);
        let register = |address, count| {
            let call = RegisterRpages {
                adapter: 1,
                page_size: 0,
                queue: QueueSelect::Sq,
                resource: 2,
                address,
                count,
            };
            call.pack()
        };
        let opcode = Opcode::REGISTER_HEA_RPAGES;
        let refused = [
            code(opcode, register(page.address(), 1), Memory::None),
            code(opcode, register(page.address(), 1), Memory::Queue(&next)),
            code(
                opcode,
                register(block.real_address(), 1),
                Memory::Block(&block),
            ),
            code(opcode, register(page.address(), 2), Memory::Queue(&page)),
            code(opcode, register(page.address(), 2), Memory::None),
        ];
        assert_eq!(refused, [ReturnCode::PARAMETER; 5]);
        Ok(())
    }

    #[test]
    fn refused_calls_give_no_registers() {
        let answer = hea_call9(Opcode::GET_HEA_INFO.0, [0; 9], Memory::None);
        assert_eq!(*answer.registers(), [0; 9]);
        assert!(answer.register_block(0).is_none());
    }
}
