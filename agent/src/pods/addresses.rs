//! Who is reached at an address. In: addresses and their holders. Out: a [`Peer`]. Bounded; what is not kept is counted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::model::{Addresses, Peer};

/// The addresses of one kind of holder.
#[derive(Debug, Default)]
pub struct Book {
    entries: HashMap<IpAddr, Entry>,
    /// Which telling of all that there are is the latest.
    telling: u32,
    pub dropped: u64,
}

#[derive(Debug)]
struct Entry {
    peer: Arc<Peer>,
    holder: u64,
    telling: u32,
}

impl Book {
    pub fn get(&self, address: IpAddr) -> Option<&Arc<Peer>> {
        self.entries.get(&address).map(|entry| &entry.peer)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// A holder is reached at these addresses. Who held them before does so no more.
    pub fn enter(&mut self, told: Addresses, most: usize) {
        let peer = Arc::new(told.peer);
        for address in told.addresses {
            if self.entries.len() >= most && !self.entries.contains_key(&address) {
                self.dropped += 1;
                continue;
            }
            let entry = Entry {
                peer: peer.clone(),
                holder: told.holder,
                telling: self.telling,
            };
            self.entries.insert(address, entry);
        }
    }

    /// A holder has these addresses no longer.
    pub fn leave(&mut self, holder: u64, addresses: &[IpAddr]) {
        for address in addresses {
            let held = self.entries.get(address);
            if held.is_some_and(|entry| entry.holder == holder) {
                self.entries.remove(address);
            }
        }
    }

    /// All that there are will be entered anew.
    pub fn begin(&mut self) {
        self.telling = self.telling.wrapping_add(1);
    }

    /// All were entered: what was not, is gone.
    pub fn complete(&mut self) {
        let telling = self.telling;
        self.entries.retain(|_, entry| entry.telling == telling);
        self.entries.shrink_to_fit();
    }
}
