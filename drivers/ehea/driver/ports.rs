// SPDX-License-Identifier: GPL-2.0

//! Ports of an adapter. They come and go with it, or one by one.

use crate::{
    abi::cb::port::MAX_PORTS,
    error::{
        Error,
        Result, //
    },
    kernel_ext::{
        net::Registered,
        of::Node,
        part::Part, //
    },
    port::{
        self,
        PortOperations, //
    },
    shared::{
        Adapter,
        Membership, //
    }, //
};
use kernel::{
    device::Device,
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// Checks whether a node below that of an adapter is that of a port.
fn is_port(node: &Node) -> bool {
    node.is_compatible(c"IBM,lhea-ethernet")
}

/// Counts the ports of an adapter.
pub(super) fn count(node: &Node) -> usize {
    node.children().filter(is_port).count().min(MAX_PORTS)
}

/// Returns the number of a port.
fn number_of(node: &Node) -> Result<u16> {
    let number = node.read_u32(c"ibm,hea-port-no").ok();
    number
        .and_then(|number| u16::try_from(number).ok())
        .ok_or(Error::Invalid("ibm,hea-port-no"))
}

/// Port that is registered. On drop it is closed while it is still a member of the adapter, since it cannot follow the
/// memory map afterwards. Then the membership is dropped, so that the shared part of the adapter does not use the port any
/// more when its network device is unregistered. The device for the port's node, below which the network device is, goes
/// last.
struct RegisteredPort {
    number: u16,
    _membership: Membership,
    dev: Registered<PortOperations>,
    _part: Part,
}

impl Drop for RegisteredPort {
    fn drop(&mut self) {
        port::retire(&self.dev);
    }
}

impl RegisteredPort {
    /// Sets up the port `number`, which has the node `node`.
    fn new(adapter: &Arc<Adapter>, number: u16, node: &Node) -> Result<Self> {
        let parent = adapter.firmware().dev();
        let name = CString::try_from_fmt(fmt!("{}-port{number}", parent.name()))?;
        let part = Part::new(&name, parent, node)?;
        let dev = port::register(adapter, number, part.as_ref())?;
        Ok(Self {
            number,
            _membership: adapter.join(port::member(&dev)?)?,
            dev,
            _part: part,
        })
    }
}

/// Ports of an adapter.
#[pin_data]
pub(super) struct Ports {
    adapter: Arc<Adapter>,
    /// Node of the adapter.
    node: Node,
    /// Registered ports. The lock is held while one comes or goes; it is taken before all others, of which `shared` has
    /// the order.
    #[pin]
    list: Mutex<KVec<RegisteredPort>>,
}

impl Ports {
    /// Sets up all ports that the device tree has below `node`. A port that fails is left out; users may ask for it
    /// again. Memory is registered if there is any port.
    ///
    /// # Errors
    ///
    /// Memory cannot be registered, or there is none.
    pub(super) fn new(adapter: &Arc<Adapter>, node: Node) -> Result<Pin<KBox<Self>>> {
        let this = KBox::pin_init(
            pin_init!(Self {
                adapter: adapter.clone(),
                node,
                list <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        )?;
        let mut list = this.list.lock();
        for node in this.node.children().filter(is_port) {
            adapter.make_map()?;
            let added = number_of(&node).and_then(|number| this.add(&mut list, number, &node));
            if let Err(error) = added {
                dev_err!(this.dev(), "{}: {}\n", node, error);
            }
        }
        if list.is_empty() {
            dev_info!(this.dev(), "no ports\n");
        }
        drop(list);
        Ok(this)
    }

    fn dev(&self) -> &Device {
        self.adapter.firmware().dev()
    }

    fn add(&self, list: &mut KVec<RegisteredPort>, number: u16, node: &Node) -> Result {
        if list.iter().any(|port| port.number == number) {
            return Err(Error::Invalid("ibm,hea-port-no, used twice"));
        }
        if list.len() >= MAX_PORTS {
            return Err(Error::Invalid("number of ports"));
        }
        list.reserve(1, GFP_KERNEL)?;
        let port = RegisteredPort::new(&self.adapter, number, node)?;
        // There is room for it.
        Ok(list.push(port, GFP_KERNEL)?)
    }

    /// Returns the port number in a text that a user wrote.
    fn parse(&self, text: &str) -> Result<u16> {
        text.parse().map_err(|_| {
            dev_warn!(self.dev(), "\"{}\" is no port number\n", text);
            Error::Kernel(EINVAL)
        })
    }

    /// Sets up the port whose number a user has written.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the port is there already, `EIO` if it has no node in the device tree, as with the C driver; those of
    /// a port's setup. The port may be asked for again.
    pub(super) fn probe(&self, text: &str) -> Result {
        let number = self.parse(text)?;
        let mut list = self.list.lock();
        if list.iter().any(|port| port.number == number) {
            dev_warn!(self.dev(), "port {}: there already\n", number);
            return Err(Error::Kernel(EINVAL));
        }
        let mut ports = self.node.children().filter(is_port);
        let node = ports.find(|node| matches!(number_of(node), Ok(found) if found == number));
        let Some(node) = node else {
            dev_warn!(self.dev(), "port {}: no such node\n", number);
            return Err(Error::Kernel(EIO));
        };
        self.adapter
            .make_map()
            .and_then(|()| self.add(&mut list, number, &node))
            .inspect_err(|error| dev_err!(self.dev(), "port {}: {}\n", number, error))?;
        self.changed(&list);
        dev_info!(self.dev(), "port {} added\n", number);
        Ok(())
    }

    /// Removes the port whose number a user has written.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such port.
    pub(super) fn remove(&self, text: &str) -> Result {
        let number = self.parse(text)?;
        let mut list = self.list.lock();
        let Some(index) = list.iter().position(|port| port.number == number) else {
            dev_warn!(self.dev(), "port {}: not there\n", number);
            return Err(Error::Kernel(EINVAL));
        };
        drop(list.remove(index).map_err(|_| EINVAL)?);
        self.changed(&list);
        dev_info!(self.dev(), "port {} removed\n", number);
        Ok(())
    }

    /// Notes that there are more or less ports, which share the entitlement.
    fn changed(&self, list: &KVec<RegisteredPort>) {
        if let Some(entitlement) = self.adapter.entitlement() {
            entitlement.set_ports(list.len());
        }
    }
}
