// SPDX-License-Identifier: Apache-2.0
//! A long line to a server on the same machine, in a network name space of its own.
//!
//! The name space has one device, of which this process is the far end. Whatever is sent to the far
//! address comes back after a while with its two addresses exchanged: as if the far address had sent
//! it, to a server that listens on the near one. The sums of IP and TCP are over both addresses and
//! stay right. So client and server have a real connection, congestion and all, over a line with the
//! given delay and rate in each direction. (The kernel's own means, netem, is not in every kernel.)

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, unshare};

use super::sys;
use crate::sh;

const DEVICE: &str = "far";
/// Where a server listens.
pub(super) const NEAR: &str = "10.99.0.1";
/// Where a client finds it.
pub(super) const FAR: &str = "10.99.0.2";

/// An Ethernet frame's worth, as everywhere outside of data centres.
const MTU: usize = 1500;
/// Packets that wait for the line in one direction before others are dropped: what a router keeps,
/// about the product of delay and rate.
const QUEUE: usize = 2000;

/// Both directions have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// From one end to the other and back.
    pub(super) round_trip: Duration,
    /// Bits in a second.
    pub(super) rate: u64,
}

impl Line {
    /// Moves the calling thread, and what it starts from now on, into a name space with the line.
    pub(super) fn enter(self) -> Result<()> {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network name space")?;
        let device = sys::tun(DEVICE)?;
        let ip = |arguments: &[&str]| sh::run(&mut sh::cmd("ip", arguments));
        ip(&["link", "set", "lo", "up"])?;
        ip(&["address", "add", &format!("{NEAR}/24"), "dev", DEVICE])?;
        ip(&["link", "set", DEVICE, "mtu", &MTU.to_string(), "up"])?;
        // The direction of a packet is told by the end whose port is that of the server: the lower.
        let directions = [Arc::new(Direction::default()), Arc::new(Direction::default())];
        for direction in &directions {
            let (direction, device) = (Arc::clone(direction), device.try_clone()?);
            thread::spawn(move || direction.deliver(device));
        }
        thread::spawn(move || self.take(device, &directions));
        Ok(())
    }

    /// Reads packets as they are sent, and puts them on the line.
    fn take(self, mut device: File, directions: &[Arc<Direction>; 2]) {
        let mut buffer = [0; MTU];
        while let Ok(length) = device.read(&mut buffer) {
            let Some(packet) = buffer.get_mut(..length).and_then(exchange) else {
                continue;
            };
            let direction = &directions[usize::from(to_server(packet))];
            direction.put(packet.to_vec(), self);
        }
    }
}

/// One direction of the line.
#[derive(Debug, Default)]
struct Direction {
    queue: Mutex<Queue>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// Packets, and when they come out at the other end.
    packets: VecDeque<(Instant, Vec<u8>)>,
    /// When the last one's last bit is on the line.
    busy: Option<Instant>,
}

impl Direction {
    fn put(&self, packet: Vec<u8>, line: Line) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let begin = queue.busy.map_or(now, |busy| busy.max(now));
        let waiting = (begin - now).as_nanos() * u128::from(line.rate) / 8_000_000_000 / MTU as u128;
        if waiting > QUEUE as u128 {
            return;
        }
        let bits = packet.len() as u64 * 8;
        let end = begin + Duration::from_nanos(bits * 1_000_000_000 / line.rate);
        queue.busy = Some(end);
        queue.packets.push_back((end + line.round_trip / 2, packet));
        self.filled.notify_one();
    }

    fn deliver(&self, mut device: File) {
        loop {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let (due, packet) = loop {
                match queue.packets.pop_front() {
                    Some(next) => break next,
                    None => queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(queue);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // The device refuses what came when the name space was already going.
            if device.write_all(&packet).is_err() {
                return;
            }
        }
    }
}

/// Exchanges the addresses of an IPv4 packet; nothing else is on this line.
fn exchange(packet: &mut [u8]) -> Option<&mut [u8]> {
    if packet.len() < 24 || packet[0] >> 4 != 4 {
        return None;
    }
    let (front, back) = packet.split_at_mut(16);
    front[12..].swap_with_slice(&mut back[..4]);
    Some(packet)
}

/// Whether a TCP packet is for the server: its port is below those that clients are given.
fn to_server(packet: &[u8]) -> bool {
    let header = usize::from(packet[0] & 0xf) * 4;
    let port = |at: usize| {
        packet
            .get(at..at + 2)
            .map(|two| u16::from_be_bytes([two[0], two[1]]))
    };
    port(header + 2) < port(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_comes_back_from_where_it_was_sent_to() {
        let mut packet = vec![0x45; 24];
        packet[12..20].copy_from_slice(&[10, 99, 0, 1, 10, 99, 0, 2]);
        packet[20..24].copy_from_slice(&[0x9c, 0x40, 0x0f, 0xa0]);
        let back = exchange(&mut packet).unwrap();
        assert_eq!(back[12..20], [10, 99, 0, 2, 10, 99, 0, 1]);
        assert!(to_server(back));
        assert!(exchange(&mut [0x60; 40]).is_none());
        assert!(exchange(&mut [0x45; 20]).is_none());
    }

    #[test]
    fn a_line_holds_packets_back_and_drops_what_no_router_keeps() {
        let line = Line {
            round_trip: Duration::from_millis(20),
            rate: 1_000_000,
        };
        let direction = Direction::default();
        let start = Instant::now();
        for _ in 0..QUEUE + 100 {
            direction.put(vec![0; MTU], line);
        }
        let queue = direction.queue.lock().unwrap();
        assert!((QUEUE..QUEUE + 50).contains(&queue.packets.len()));
        // 12,000 bits take 12 ms at this rate.
        assert!(queue.packets[0].0 >= start + Duration::from_millis(22));
        assert!(queue.packets[9].0 >= start + Duration::from_millis(130));
    }
}
