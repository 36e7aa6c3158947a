// SPDX-License-Identifier: GPL-2.0

//! Statistics of the adapter's state.

use std::collections::BTreeMap;

use super::cq::Cq;
use super::mr::Mr;
use super::port::Port;
use super::qp::{Qp, WorkQueue};
use super::state::State;
use crate::stats::{Counters, CqStats, Live, MrStats, PortSettings, PortStats, QpStats, Stats};

impl State {
    /// Returns all that is known of the objects, and the counters. TCEs are not included.
    pub(crate) fn stats(&self, counters: &Counters) -> Stats {
        let neqs = self.neqs() as u64;
        let own = |map: &BTreeMap<&'static str, u64>| {
            map.iter().map(|(&k, &v)| (k.to_owned(), v)).collect()
        };
        let queue_bytes = self
            .eqs
            .values()
            .map(|eq| eq.pages.bytes())
            .chain(self.cqs.values().map(|cq| cq.pages.bytes()))
            .chain(
                self.qps
                    .values()
                    .flat_map(|qp| qp.queues().map(|q| q.pages.bytes())),
            );
        Stats {
            live: Live {
                eq: u64::from(self.eqs.live()).saturating_sub(neqs),
                neq: neqs,
                cq: self.cqs.live().into(),
                qp: self.qps.live().into(),
                mr: self.mrs.live().into(),
                smr: self.smrs.live().into(),
                bcmc: self.ports.iter().fold(0, |sum, port| {
                    u64::saturating_add(sum, port.bcmc.len() as u64)
                }),
            },
            hcalls: own(&counters.hcalls),
            moody_answers: own(&counters.moody_answers),
            refusals: own(&counters.refusals),
            pinned_bytes: self
                .mrs
                .values()
                .map(Mr::reachable)
                .chain(queue_bytes)
                .fold(0, u64::saturating_add),
            refused_accesses: counters.refused_accesses,
            cmo_refused: counters.cmo_refused,
            ignored_mmio: counters.ignored_mmio,
            reentries: 0,
            interrupts: counters.interrupts,
            reraised: counters.reraised,
            longest_work_frames: counters.longest_work_frames,
            longest_work_bytes: counters.longest_work_bytes,
            removed_while_registered: counters.removed_while_registered,
            removed_accesses: counters.removed_accesses,
            late_accesses: counters.late_accesses,
            pauses: counters.pauses.iter().copied().collect(),
            mrs: self
                .mrs
                .iter()
                .map(|(h, mr)| self.mr_stats(h, mr))
                .collect(),
            qps: self.qps.values().map(|qp| self.qp_stats(qp)).collect(),
            ports: self.ports.iter().map(port_stats).collect(),
            dma: counters.dma.clone(),
            ..Stats::default()
        }
    }

    fn qp_stats(&self, qp: &Qp) -> QpStats {
        let queue = |handle| self.cqs.get(handle).map(cq_stats).unwrap_or_default();
        QpStats {
            qp: qp.number,
            port: u16::try_from(qp.port).map_or(0, |index| index.saturating_add(1)),
            token: qp.token,
            state: format!("{:?}", qp.state),
            enabled: qp.enabled,
            sq_announced: qp.sq.announced(),
            sq_executed: qp.sq.used(),
            sq_completed: qp.counters.completed,
            rq_credits: [&qp.rq1, &qp.rq2, &qp.rq3].map(WorkQueue::credits),
            in_flight: qp.in_flight.len() as u64,
            send: queue(qp.send_cq),
            receive: queue(qp.recv_cq),
            rx_frames: qp.counters.received,
            rx_dropped: qp.counters.dropped,
        }
    }

    fn mr_stats(&self, handle: u64, mr: &Mr) -> MrStats {
        MrStats {
            handle,
            bytes: mr.length,
            page_bytes: mr.page.bytes(),
            pages: mr.pages(),
            register_calls: mr.register_calls,
            runs: mr
                .runs()
                .iter()
                .take(Stats::RUNS)
                .map(|run| (run.gpa, run.len))
                .collect(),
            run_count: mr.runs().len() as u64,
            smrs: self.smrs.values().filter(|smr| smr.mr == handle).count() as u64,
        }
    }
}

fn cq_stats(cq: &Cq) -> CqStats {
    CqStats {
        armed: cq.is_armed(),
        event_pending: cq.is_event_pending(),
        unconsumed: cq.unconsumed(),
    }
}

fn port_stats(port: &Port) -> PortStats {
    PortStats {
        port: port.number,
        owned: port.owned,
        link: port.link,
        rx_frames: port.counters.rx_frames,
        rx_bytes: port.counters.rx_bytes,
        rx_dropped: port.counters.rx_dropped,
        rx_fifo_bytes: port.fifo_bytes() as u64,
        tx_frames: port.counters.tx_frames,
        tx_bytes: port.counters.tx_bytes,
        tx_errors: port.counters.tx_errors,
        tx_checksums: port.counters.tx_checksums,
        tx_segmented: port.counters.tx_segmented,
        tx_busy: port.tx_busy,
        held_back: port.held_back,
        settings: settings(port),
    }
}

fn settings(port: &Port) -> PortSettings {
    let used = port.default_qpns.iter().copied().filter(|&qpn| qpn != 0);
    PortSettings {
        mac: port.mac.0,
        speed: port.speed.0,
        pause: port.pause,
        jumbo: port.jumbo,
        receive_control: port.receive_control.0,
        default_qpns: used.collect(),
        default_unicast: port.def_uc_qpn,
        vlans: (0..4096)
            .filter(|&vid| port.vlan_filter.accepts(vid))
            .collect(),
    }
}
