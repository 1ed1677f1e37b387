use super::*;

fn lines(count: usize) -> String {
    (0..count).map(|number| format!("line {number:06}\n")).collect()
}

#[test]
fn a_log_keeps_what_fits_and_is_read_across_its_rotations() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.log");
    let mut file = RotatingFile::open(&path, 1200).unwrap();
    let (text, mut read) = (lines(450), Vec::new());
    let mut reader = LogReader::open(&path).unwrap();
    for part in text.as_bytes().chunks(100) {
        file.write(part);
        reader.copy(&mut read).unwrap();
    }
    assert_eq!(String::from_utf8(read).unwrap(), text, "a reader that keeps up misses nothing");
    let kept = [previous(&path), path.clone()].map(|path| fs::read_to_string(path).unwrap());
    for part in &kept {
        assert!(part.len() <= 1300 && part.starts_with("line "), "{}: {part}", part.len());
    }
    let mut all = Vec::new();
    LogReader::open(&path).unwrap().copy(&mut all).unwrap();
    let all = String::from_utf8(all).unwrap();
    assert!(text.ends_with(&all) && all.len() > 1200, "{all}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn a_line_without_end_is_cut_and_a_log_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.log");
    RotatingFile::open(&path, 1000).unwrap().write(&[b'a'; 900]);
    let mut file = RotatingFile::open(&path, 1000).unwrap();
    file.write(&[b'b'; 200]);
    file.write(b"c");
    assert_eq!(fs::read(previous(&path)).unwrap().len(), 1100);
    assert_eq!(fs::read(&path).unwrap(), b"c");
}

#[tokio::test]
async fn what_processes_write_is_in_the_file_when_the_log_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.log");
    let log = Log::open(&path).unwrap();
    for _ in 0..2 {
        let (output, error) = log.outputs().unwrap();
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "echo out; echo error >&2"]).stdout(output).stderr(error);
        assert!(shell.status().unwrap().success());
    }
    log.finish().await;
    assert_eq!(fs::read_to_string(&path).unwrap(), "out\nerror\nout\nerror\n");
}
