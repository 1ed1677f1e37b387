//! From text to checked objects: the one parser that files, the API, `weft apply`, Kubernetes and the admission
//! webhook use.

use std::collections::HashMap;
use std::sync::Arc;

use weft_model::provenance::ObjectRef;

use super::checks;
use super::diagnostic::{Finding, Report, Severity, code};
use super::document::split::{Part, parts};
use super::document::{Entry, Node, Span, Value, json, yaml};
use super::fields::{Field, Fields, did_you_mean};
use super::instead;
use super::object::{Metadata, Object, Origin, Place};
use super::registry::{KINDS, Kind, Scope, is_unsupported, suggestion};

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;

/// Longest file, in bytes.
pub const MAX_FILE_BYTES: usize = 16 << 20;
/// Kind of the document with which `weft get -o yaml` ends when something is wrong.
const FINDING_LIST: &str = "FindingList";

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// The objects that are free of errors, in the order of the file.
    pub objects: Vec<Arc<Object>>,
    /// Everything that was found, in the order of the file.
    pub findings: Vec<Finding>,
}

impl Parsed {
    /// Whether anything is wrong, so that nothing of it may be applied.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(Finding::is_error)
    }
}

/// Reads all documents of a file. `file` is its name in findings; objects that name no namespace get
/// `default_namespace`. A bad document does not keep the others from being read.
#[must_use]
pub fn parse_documents(file: &str, text: &str, default_namespace: &str) -> Parsed {
    let report = Report::new(file, text);
    if text.len() > MAX_FILE_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_FILE_BYTES} are read", text.len());
        let finding =
            Finding::new(Severity::Error, code::TOO_LARGE, message).hint("split it into several files");
        return Parsed { objects: Vec::new(), findings: vec![Finding { file: file.into(), ..finding }] };
    }
    let mut objects = Vec::new();
    for part in parts(text) {
        let (root, errors) = yaml::parse(part.text);
        for error in errors {
            let finding = Finding::new(Severity::Error, error.code, error.message).hint(error.hint);
            let span =
                if error.span.line == 0 { Span { line: 1, column: 1, bytes: 0..0 } } else { error.span };
            report.add(finding, "", &span.shifted(part.line, part.offset));
        }
        let Some(mut root) = root else { continue };
        shift(&mut root, part.line, part.offset);
        for (node, text, line) in unfold(root, &part, text, &report) {
            let place = Place { file: file.into(), line };
            objects.extend(object(&node, &text, place, default_namespace, &report, Kind::named));
        }
    }
    let objects = without_duplicates(objects, &report);
    Parsed { objects, findings: report.into_findings() }
}

/// Reads several files as one request: an object may stand in one of them only. Each is a name and a text.
#[must_use]
pub fn parse_files<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a str)>,
    default_namespace: &str,
) -> Parsed {
    let mut all = Parsed::default();
    for (file, text) in files {
        let parsed = parse_documents(file, text, default_namespace);
        all.findings.extend(parsed.findings);
        for object in parsed.objects {
            if let Some(first) = all.objects.iter().find(|other| other.reference == object.reference) {
                let message = format!("{} is in {} too", object.reference, first.place.file);
                all.findings.push(object.finding(
                    Severity::Error,
                    code::DUPLICATE_OBJECT,
                    "metadata.name",
                    message,
                    "keep one",
                ));
            } else {
                all.objects.push(object);
            }
        }
    }
    all
}

/// Reads one object (or `List`) of JSON, as a Kubernetes API server sends it.
#[must_use]
pub fn parse_json(value: &serde_json::Value, default_namespace: &str) -> Parsed {
    let report = Report::new("", "");
    let mut objects = Vec::new();
    let part = Part { text: "", line: 0, offset: 0 };
    for (node, text, line) in unfold(json::from_json(value), &part, "", &report) {
        let place = Place { file: "".into(), line };
        objects.extend(object(&node, &text, place, default_namespace, &report, Kind::named));
    }
    let objects = without_duplicates(objects, &report);
    Parsed { objects, findings: report.into_findings() }
}

/// Reads one object that was watched at a Kubernetes API server, which may also be of a kind that only a cluster has
/// ([`CLUSTER_KINDS`](super::CLUSTER_KINDS)). An object without a namespace belongs to none.
#[must_use]
pub fn parse_watched(value: &serde_json::Value) -> Parsed {
    let report = Report::new("", "");
    let node = json::from_json(value);
    let place = Place { file: "".into(), line: 0 };
    let object = object(&node, &value.to_string(), place, "", &report, Kind::watched);
    Parsed { objects: object.into_iter().collect(), findings: report.into_findings() }
}

/// Moves all places by those of the document within its file.
fn shift(node: &mut Node, lines: u32, bytes: usize) {
    node.span = node.span.shifted(lines, bytes);
    match &mut node.value {
        Value::Sequence(items) => items.iter_mut().for_each(|item| shift(item, lines, bytes)),
        Value::Mapping(entries) => entries.iter_mut().for_each(|Entry { key_span, value, .. }| {
            *key_span = key_span.shifted(lines, bytes);
            shift(value, lines, bytes);
        }),
        _ => {}
    }
}

/// One object's tree, its text, and the lines of the file before the text.
type Single = (Node, String, u32);

/// The objects of a document: itself, or the items of a `List`.
fn unfold(root: Node, part: &Part<'_>, file_text: &str, report: &Report<'_>) -> Vec<Single> {
    // What `weft get` says beside the objects is no object, so that its output can be applied.
    if root.get("kind").and_then(Node::as_str) == Some(FINDING_LIST) {
        return Vec::new();
    }
    let is_list = root.get("kind").and_then(Node::as_str).is_some_and(|kind| kind.ends_with("List"))
        && root.get("items").is_some();
    if !is_list {
        let text = if root.span.line == 0 { rendered(&root) } else { part.text.to_owned() };
        return vec![(root, text, part.line)];
    }
    let field = Field::root(&root, report);
    let items = field.message(|f| {
        f.ignored(&["apiVersion", "kind", "metadata", "findings"]);
        Some(f.required("items")?.items().iter().map(|item| item.node().clone()).collect::<Vec<_>>())
    });
    let single = |item: Node| {
        let (text, line) = item_text(&item, file_text)
            .unwrap_or_else(|| (rendered(&item), item.span.line.saturating_sub(1)));
        (item, text, line)
    };
    items.unwrap_or_default().into_iter().map(single).collect()
}

/// The part of the text that an item of a list stands in, moved to the left margin. None when it does not stand
/// for itself (aliases of anchors outside, flow style).
fn item_text(item: &Node, file_text: &str) -> Option<(String, u32)> {
    let indent = item.span.column.checked_sub(1)? as usize;
    let slice = file_text.get(item.span.bytes.clone())?;
    let mut text = String::with_capacity(slice.len());
    for (number, line) in slice.split_inclusive('\n').enumerate() {
        let own = line.bytes().take_while(|&byte| byte == b' ').count();
        text.push_str(if number == 0 { line } else { &line[own.min(indent)..] });
    }
    let trimmed = text.trim_end().len();
    text.truncate(trimmed);
    text.push('\n');
    let (reread, errors) = yaml::parse(&text);
    let same = errors.is_empty() && json::to_json(&reread?) == json::to_json(item);
    same.then(|| (text, item.span.line - 1))
}

/// JSON is YAML.
fn rendered(node: &Node) -> String {
    format!("{:#}\n", json::to_json(node))
}

/// Which kinds there are, by name.
type Known = fn(&str) -> Option<&'static Kind>;

/// Reads one object; none when it has an error, which has been reported.
fn object(
    node: &Node,
    text: &str,
    place: Place,
    default_namespace: &str,
    report: &Report<'_>,
    known: Known,
) -> Option<Arc<Object>> {
    let before = report.errors();
    report.enter(outline(node, default_namespace, known));
    let root = Field::root(node, report);
    let read = root.message(|f| {
        let kind = kind(f, node, known);
        f.ignored(&["status"]);
        if kind.is_some_and(|kind| kind.reads_all) {
            f.ignored_rest();
        }
        let metadata = f.required("metadata").and_then(|field| metadata(&field, kind, default_namespace));
        let (name, namespace, metadata) = metadata.unzip3();
        let spec = match kind {
            Some(kind) if kind.reads_all => root.clone(),
            _ => f.optional("spec").unwrap_or_else(|| root.absent("spec")),
        };
        let spec = kind.and_then(|kind| {
            let scope = Scope {
                namespace: namespace.as_deref().unwrap_or(default_namespace),
                name: name.as_deref().unwrap_or_default(),
            };
            (kind.parse)(&spec, scope)
        });
        let kind = kind?;
        let reference = ObjectRef::new(&kind.api_version(), kind.name, &namespace?, &name?);
        Some((reference, metadata?, spec?))
    });
    report.enter(None);
    let (reference, metadata, spec) = read?;
    (report.errors() == before).then(|| {
        Arc::new(Object {
            reference,
            metadata,
            generation: 0,
            origin: Origin::default(),
            place,
            text: text.into(),
            spec,
        })
    })
}

/// An option of three to three options.
trait Unzip3<A, B, C> {
    fn unzip3(self) -> (Option<A>, Option<B>, Option<C>);
}

impl<A, B, C> Unzip3<A, B, C> for Option<(A, B, C)> {
    fn unzip3(self) -> (Option<A>, Option<B>, Option<C>) {
        self.map_or((None, None, None), |(a, b, c)| (Some(a), Some(b), Some(c)))
    }
}

/// Which object it is, as far as can be told before it is checked: for findings.
fn outline(node: &Node, default_namespace: &str, known: Known) -> Option<ObjectRef> {
    let kind = node.get("kind")?.as_str()?;
    let metadata = node.get("metadata")?;
    let name = metadata.get("name")?.as_str()?;
    let namespace = metadata.get("namespace").and_then(Node::as_str).unwrap_or(default_namespace);
    let written = node.get("apiVersion").and_then(Node::as_str).unwrap_or_default();
    let version = known(kind).map_or_else(|| written.to_owned(), Kind::api_version);
    Some(ObjectRef::new(&version, kind, namespace, name))
}

/// Which kind it is, by `kind` and `apiVersion`.
fn kind(f: &Fields<'_>, node: &Node, known: Known) -> Option<&'static Kind> {
    let version = f.required("apiVersion");
    let name = f.required("kind")?;
    let word = name.text()?;
    let Some(kind) = known(word) else {
        if is_unsupported(word) {
            let hint = instead::of(word, node).unwrap_or_else(suggestion_of_kinds);
            name.unsupported(format_args!("the kind `{word}`"), hint);
        } else {
            name.refuse(code::UNKNOWN_KIND, format!("there is no kind `{word}`"), suggestion(word));
        }
        // Its fields are not Weft's to judge.
        f.ignored(&["spec", "data", "rules", "subsets", "endpoints"]);
        return None;
    };
    let version = version?;
    let written = version.text()?;
    if kind.served().any(|served| served == written) {
        return Some(kind);
    }
    let served: Vec<_> = kind.served().collect();
    let hint = did_you_mean(written, served.iter().map(String::as_str))
        .unwrap_or_else(|| format!("write {}", served.join(" or ")));
    version.refuse(code::UNKNOWN_API_VERSION, format!("there is no {word} in `{written}`"), hint);
    // The fields are judged all the same: the version is the only slip.
    Some(kind)
}

fn suggestion_of_kinds() -> String {
    let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
    format!("the kinds are {}", names.join(", "))
}

/// Name, namespace and what every kind has.
fn metadata(
    field: &Field<'_>,
    kind: Option<&Kind>,
    default_namespace: &str,
) -> Option<(Arc<str>, Arc<str>, Metadata)> {
    field.message(|f| {
        f.ignored(&[
            "generation",
            "uid",
            "resourceVersion",
            "selfLink",
            "managedFields",
            "ownerReferences",
            "finalizers",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ]);
        f.unsupported(&["generateName"]);
        let check = if kind.is_some_and(|kind| kind.name == "Service") {
            checks::service_name
        } else {
            checks::dns_subdomain
        };
        let name = f.required("name").and_then(|field| field.parse(check));
        let namespace = match f.optional("namespace") {
            Some(field) => field.parse(checks::dns_label),
            None => Some(default_namespace),
        };
        let labels = f.optional("labels").map(|field| checks::labels(&field)).unwrap_or_default();
        let annotations = f.optional("annotations").map(|field| annotations(&field)).unwrap_or_default();
        let created = f.optional("creationTimestamp").and_then(|field| {
            field.parse(|text| {
                text.parse::<jiff::Timestamp>().map_err(|_| {
                    super::fields::Problem::new(
                        format!("`{text}` is no time"),
                        "such as 2026-01-31T12:00:00Z",
                    )
                })
            })
        });
        Some((name?.into(), namespace?.into(), Metadata { labels, annotations, created }))
    })
}

fn annotations(field: &Field<'_>) -> std::collections::BTreeMap<Arc<str>, Arc<str>> {
    let read = |(key, value): (&str, Field<'_>)| {
        if let Err(problem) = checks::qualified_name(key) {
            value.invalid(problem.message.replace("label key", "annotation key"), problem.hint);
            return None;
        }
        Some((Arc::from(key), Arc::from(value.text()?)))
    };
    field.entries().into_iter().filter_map(read).collect()
}

/// The same object twice in one file is a slip of which nobody can tell what was meant.
fn without_duplicates(objects: Vec<Arc<Object>>, report: &Report<'_>) -> Vec<Arc<Object>> {
    let mut first: HashMap<ObjectRef, u32> = HashMap::new();
    let mut kept = Vec::with_capacity(objects.len());
    for object in objects {
        if let Some(line) = first.get(&object.reference) {
            let message = format!("{} stands twice; the first begins on line {}", object.reference, line + 1);
            let finding = Finding::new(Severity::Error, code::DUPLICATE_OBJECT, message).hint("keep one");
            report.enter(Some(object.reference.clone()));
            let span = object.document().locate("metadata.name");
            let start = offset_of_line(report.text(), object.place.line);
            report.add(finding, "metadata.name", &span.shifted(object.place.line, start));
            report.enter(None);
            kept.retain(|other: &Arc<Object>| other.reference != object.reference);
            continue;
        }
        first.insert(object.reference.clone(), object.place.line);
        kept.push(object);
    }
    kept
}

/// Byte at which the line after `lines` lines begins.
fn offset_of_line(text: &str, lines: u32) -> usize {
    text.split_inclusive('\n').take(lines as usize).map(str::len).sum()
}
