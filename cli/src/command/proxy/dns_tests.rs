use serde_json::json;

use super::*;

#[test]
fn each_step_says_what_was_asked_and_who_answered() {
    let explained = json!({
        "name": "db-1.db",
        "addresses": ["10.250.0.4"],
        "steps": [
            { "asked": "db-1.db.x.cluster.local", "completedBy": "x.cluster.local", "verdict": "own-domain",
              "code": "NXDOMAIN", "domain": "cluster.local" },
            { "asked": "db-1.db", "completedBy": null, "verdict": "mesh", "code": "NOERROR",
              "addresses": ["10.250.0.4"], "unready": ["10.250.0.5"], "objects": ["Service/default/db"] },
        ],
    });
    let text = people(&explained);
    for words in
        ["no such name", "it knows all names of cluster.local", "Service/default/db; not ready: 10.250.0.5"]
    {
        assert!(text.contains(words), "{words} is missing:\n{text}");
    }
    assert!(text.ends_with("db-1.db is 10.250.0.4\n"), "{text}");
}

#[test]
fn a_name_that_nobody_answers_says_who_was_asked() {
    let step = json!({ "asked": "www.example", "verdict": "forwarded", "code": "SERVFAIL", "resolver": null,
        "resolvers": ["10.0.0.2:53"], "addresses": [] });
    let text = people(&json!({ "name": "www.example", "addresses": [], "steps": [step] }));
    assert!(text.contains("SERVFAIL") && text.contains("no answer from 10.0.0.2:53"), "{text}");
    assert!(text.ends_with("www.example has no address\n"), "{text}");
}
