use std::sync::mpsc::{Sender, channel};

use super::*;

/// An output that nobody reads before it is opened.
struct Gate {
    opened: Receiver<()>,
    is_open: bool,
    written: Sender<Vec<u8>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_open {
            self.opened.recv().map_err(io::Error::other)?;
            self.is_open = true;
        }
        self.written.send(bytes.to_vec()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_log_that_nobody_reads_holds_nobody_up_and_says_what_was_lost() {
    let (open, opened) = sync_channel(1);
    let (written, lines) = channel();
    let log = LogLines::start(Gate { opened, is_open: false, written }).unwrap();
    let all = WAITING as u64 + 100;
    for number in 0..all {
        log.clone().write_all(format!("{number}\n").as_bytes()).unwrap();
    }
    log.flush(Duration::from_millis(1));
    open.send(()).unwrap();
    // The queue was full: there is room for the question only when lines are out.
    let mut text = String::new();
    while !text.contains("were lost here") {
        let line = lines.recv_timeout(Duration::from_secs(20)).unwrap();
        text.push_str(std::str::from_utf8(&line).unwrap());
    }
    log.flush(Duration::from_secs(20));
    lines.try_iter().for_each(|line| text.push_str(std::str::from_utf8(&line).unwrap()));
    let told = " lines of this log were lost here: it was not read in time";
    let lost = text.lines().filter_map(|line| line.strip_suffix(told));
    let lost: u64 = lost.map(|number| number.parse::<u64>().unwrap()).sum();
    let kept = text.lines().filter(|line| line.parse::<u64>().is_ok()).count() as u64;
    assert_eq!(kept + lost, all);
    assert!(lost > 0 && kept >= WAITING as u64, "{lost} lost, {kept} kept");
}
