// SPDX-License-Identifier: GPL-2.0
//! QEMU's monitor protocol: commands by name with JSON arguments, and events.
//!
//! A crate with typed bindings exists, but it cannot send a command whose name is data, which
//! authors of tests need. The protocol itself consists of lines of JSON.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{mpsc, Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, Context, Result};
use serde_json::{json, Value};

/// Time after which QEMU is taken to hang if it has not answered a command.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
struct Events {
    queue: Mutex<(Vec<Value>, bool)>,
    changed: Condvar,
}

#[derive(Debug)]
struct Connection {
    writer: UnixStream,
    answers: mpsc::Receiver<Value>,
}

/// A monitor connection; commands may come from several threads.
#[derive(Debug)]
pub struct Qmp {
    connection: Mutex<Connection>,
    events: Arc<Events>,
}

impl Qmp {
    /// Takes over a connected socket: reads the greeting and leaves the negotiation mode.
    pub fn connect(socket: UnixStream) -> Result<Self> {
        let reader = BufReader::new(
            socket
                .try_clone()
                .context("cannot duplicate the monitor socket")?,
        );
        let events = Arc::new(Events::default());
        let (sender, answers) = mpsc::channel();
        let sink = Arc::clone(&events);
        thread::spawn(move || Self::read(reader, &sender, &sink));
        let qmp = Self {
            connection: Mutex::new(Connection {
                writer: socket,
                answers,
            }),
            events,
        };
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    fn read(reader: BufReader<UnixStream>, answers: &mpsc::Sender<Value>, events: &Events) {
        for line in reader.lines().map_while(Result::ok) {
            let Ok(message) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            if message.get("event").is_some() {
                events
                    .queue
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
                    .push(message);
                events.changed.notify_all();
            } else if message.get("QMP").is_none() && answers.send(message).is_err() {
                break;
            }
        }
        events
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1 = true;
        events.changed.notify_all();
    }

    /// Runs a monitor command and returns its result.
    ///
    /// # Errors
    ///
    /// QEMU's error if the command failed, or that of the connection.
    pub fn execute(&self, command: &str, arguments: Value) -> Result<Value> {
        let mut request = json!({ "execute": command });
        if arguments.as_object().is_some_and(|o| !o.is_empty()) {
            request["arguments"] = arguments;
        }
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let gone = || format!("QEMU is gone, {command} was not executed");
        connection
            .writer
            .write_all(format!("{request}\n").as_bytes())
            .with_context(gone)?;
        let answer = connection
            .answers
            .recv_timeout(ANSWER_TIMEOUT)
            .with_context(gone)?;
        match (answer.get("return"), answer.get("error")) {
            (Some(value), _) => Ok(value.clone()),
            (None, Some(error)) => Err(anyhow!(
                "{command}: {}",
                error["desc"].as_str().unwrap_or("unknown error")
            )),
            (None, None) => bail!("{command}: QEMU answered {answer}"),
        }
    }

    /// Waits for an event named `name` whose data satisfies `matches`, removes it from the queue
    /// and returns its data. Events that arrived before the call count.
    pub fn wait_event(
        &self,
        name: &str,
        timeout: Duration,
        matches: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let deadline = Instant::now() + timeout;
        let mut queue = self
            .events
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            let found = queue
                .0
                .iter()
                .position(|e| e["event"] == name && matches(&e["data"]));
            if let Some(at) = found {
                return Ok(queue.0.remove(at)["data"].take());
            }
            let left = deadline
                .checked_duration_since(Instant::now())
                .with_context(|| format!("no event {name} within {} s", timeout.as_secs()))?;
            if queue.1 {
                bail!("QEMU is gone, no event {name} came");
            }
            queue = self
                .events
                .changed
                .wait_timeout(queue, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Removes and returns all events that nobody waited for.
    pub fn take_events(&self) -> Vec<Value> {
        std::mem::take(
            &mut self
                .events
                .queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .0,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_errors_and_events_are_told_apart() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || {
            let mut writer = theirs.try_clone().unwrap();
            writer.write_all(b"{\"QMP\":{}}\n").unwrap();
            let mut lines = BufReader::new(theirs).lines();
            let mut answer = |text: &str| {
                let request = lines.next().unwrap().unwrap();
                writer.write_all(text.as_bytes()).unwrap();
                request
            };
            answer("{\"return\":{}}\n");
            let request = answer("{\"event\":\"STOP\",\"data\":{\"n\":1}}\n{\"return\":7}\n");
            assert_eq!(request, r#"{"arguments":{"a":1},"execute":"thing"}"#);
            answer("{\"error\":{\"desc\":\"no such thing\"}}\n");
        });
        let qmp = Qmp::connect(ours).unwrap();
        assert_eq!(qmp.execute("thing", json!({"a": 1})).unwrap(), 7);
        let error = qmp.execute("other", json!({})).unwrap_err().to_string();
        assert_eq!(error, "other: no such thing");
        assert_eq!(
            qmp.wait_event("STOP", Duration::ZERO, |d| d["n"] == 1)
                .unwrap()["n"],
            1
        );
        server.join().unwrap();
        assert!(qmp
            .wait_event("STOP", Duration::from_secs(60), |_| true)
            .is_err());
    }
}
