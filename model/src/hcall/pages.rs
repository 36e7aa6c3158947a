// SPDX-License-Identifier: GPL-2.0

//! H_REGISTER_HEA_RPAGES and H_FREE_RESOURCE (§3.5, §3.7).

use ehea_abi::hcall::{FreeResource, QueueSelect, RegisterRpages, ReturnCode, MAX_PAGES_PER_CALL};
use ehea_abi::ring::QUEUE_PAGE_SIZE;
use zerocopy::byteorder::big_endian::U64;
use zerocopy::{FromZeros as _, IntoBytes as _};

use crate::host::{Env, TraceLevel};
use crate::limits::MAX_RUNS;
use crate::object::ring::QueuePages;
use crate::object::state::State;
use crate::object::table::Kind;
use crate::refusal::Refusal;

const fn answer(complete: bool) -> ReturnCode {
    if complete {
        ReturnCode::SUCCESS
    } else {
        ReturnCode::PAGE_REGISTERED
    }
}

impl State {
    pub(crate) fn register_pages(
        &mut self,
        env: &mut Env<'_>,
        call: &RegisterRpages,
    ) -> Result<ReturnCode, Refusal> {
        let only_queue = call.queue == QueueSelect::Sq;
        let pages = match Kind::of(call.resource) {
            Some(Kind::Mr) if only_queue => return self.register_mr_pages(env, call),
            Some(Kind::Eq) if only_queue => self.eqs.get_mut(call.resource).map(|eq| &mut eq.pages),
            Some(Kind::Cq) if only_queue => self.cqs.get_mut(call.resource).map(|cq| &mut cq.pages),
            Some(Kind::Qp) => self.qps.get_mut(call.resource).map(|qp| {
                let queue = match call.queue {
                    QueueSelect::Sq => &mut qp.sq,
                    QueueSelect::Rq1 => &mut qp.rq1,
                    QueueSelect::Rq2 => &mut qp.rq2,
                    QueueSelect::Rq3 => &mut qp.rq3,
                };
                &mut queue.pages
            }),
            Some(Kind::Mr | Kind::Eq | Kind::Cq) => return Err(Refusal::QueueSelect),
            Some(Kind::Smr) | None => None,
        };
        let pages = pages.ok_or(Refusal::ResourceHandle)?;
        register_queue_page(env, call, pages)
    }

    fn register_mr_pages(
        &mut self,
        env: &mut Env<'_>,
        call: &RegisterRpages,
    ) -> Result<ReturnCode, Refusal> {
        let used: usize = self.mrs.values().map(|mr| mr.runs().len()).sum();
        let mr = self
            .mrs
            .get_mut(call.resource)
            .ok_or(Refusal::ResourceHandle)?;
        if call.page_size() != Some(mr.page) {
            return Err(Refusal::PageSize);
        }
        let count = usize::try_from(call.count)
            .ok()
            .filter(|n| (1..=MAX_PAGES_PER_CALL).contains(n))
            .ok_or(Refusal::PageCount)?;
        let page_bytes = mr.page.bytes();
        mr.check_room(call.count.saturating_mul(page_bytes))?;

        let mut list = [U64::new_zeroed(); MAX_PAGES_PER_CALL];
        let list = list.get_mut(..count).ok_or(Refusal::PageCount)?;
        match &mut *list {
            [only] => only.set(call.address),
            list => {
                let gpa = env.block_address(call.address)?;
                env.read(gpa, list.as_mut_bytes())
                    .map_err(|_| Refusal::BlockAddress)?;
            }
        }
        // Adjacent pages are merged before the machine is asked about them, so that one call stays
        // cheap (M23).
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for page in list.iter().map(|page| page.get()) {
            if !page.is_multiple_of(page_bytes) {
                return Err(Refusal::PageAlignment);
            }
            match runs.last_mut() {
                Some((gpa, len)) if gpa.checked_add(*len) == Some(page) => {
                    *len = len.saturating_add(page_bytes);
                }
                _ => runs.push((page, page_bytes)),
            }
        }
        if !runs.iter().all(|&(gpa, len)| env.is_ram(gpa, len)) {
            return Err(Refusal::PageNotRam);
        }
        if used.saturating_add(runs.len()) > MAX_RUNS {
            return Err(Refusal::TranslationLimit);
        }
        for (gpa, len) in runs {
            mr.append(gpa, len);
        }
        mr.register_calls = mr.register_calls.saturating_add(1);
        Ok(answer(mr.is_complete()))
    }

    pub(crate) fn free(&mut self, env: &mut Env<'_>, call: &FreeResource) -> Result<(), Refusal> {
        let handle = call.resource;
        match Kind::of(handle).ok_or(Refusal::ResourceHandle)? {
            Kind::Eq => {
                self.eqs.get(handle).ok_or(Refusal::ResourceHandle)?;
                let used = self.cqs.values().any(|cq| cq.eq == handle)
                    || self.qps.values().any(|qp| qp.eq == handle);
                if used && !call.force {
                    return Err(Refusal::EqInUse);
                }
                self.remove_eq(env, handle);
            }
            Kind::Cq => {
                self.cqs.get(handle).ok_or(Refusal::ResourceHandle)?;
                let uses = |cq| cq == handle;
                let used = self
                    .qps
                    .values()
                    .any(|qp| uses(qp.send_cq) || uses(qp.recv_cq));
                if used && !call.force {
                    return Err(Refusal::CqInUse);
                }
                self.remove_cq(handle);
            }
            Kind::Qp => {
                let qp = self.qps.get(handle).ok_or(Refusal::ResourceHandle)?;
                if qp.enabled && !call.force {
                    return Err(Refusal::QpEnabled);
                }
                self.remove_qp(env, handle);
            }
            Kind::Mr => {
                self.mrs.get(handle).ok_or(Refusal::ResourceHandle)?;
                let shared = self.smrs.values().any(|smr| smr.mr == handle);
                if shared && !call.force {
                    return Err(Refusal::MrInUse);
                }
                self.mrs.remove(handle);
            }
            Kind::Smr => {
                self.smrs.remove(handle).ok_or(Refusal::ResourceHandle)?;
            }
        }
        env.trace(TraceLevel::Event, format_args!("freed {handle:#x}"));
        Ok(())
    }
}

fn register_queue_page(
    env: &mut Env<'_>,
    call: &RegisterRpages,
    pages: &mut QueuePages,
) -> Result<ReturnCode, Refusal> {
    const PAGE: u64 = QUEUE_PAGE_SIZE as u64;
    if call.page_size().map(|size| size.bytes()) != Some(PAGE) {
        return Err(Refusal::PageSize);
    }
    if call.count != 1 {
        return Err(Refusal::PageCount);
    }
    if pages.is_complete() {
        return Err(Refusal::PagesExceed);
    }
    if !call.address.is_multiple_of(PAGE) {
        return Err(Refusal::PageAlignment);
    }
    if !env.is_ram(call.address, PAGE) {
        return Err(Refusal::PageNotRam);
    }
    pages.push(call.address);
    Ok(answer(pages.is_complete()))
}
